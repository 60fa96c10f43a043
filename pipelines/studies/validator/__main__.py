"""``python -m driveforge.pipelines.studies.validator --help``"""

import sys

from driveforge.pipelines.studies.command import run_study
from driveforge.pipelines.studies.validator.settings import ValidatorStudy
from driveforge.pipelines.studies.validator.study import study_validator

ABOUT = """\
Measures good clips and clips with every corruption, at three sizes, with our measures and with published baselines: an
hour or two on two cores. Writes a report with a plot, and resumes after an interruption.

  python -m driveforge.pipelines.studies.validator rows=[64] num_good=200 --out /tmp/study.md"""

if __name__ == "__main__":
    sys.exit(run_study(ValidatorStudy, study_validator, ABOUT))
