"""``python -m driveforge.pipelines.studies.validator --help``"""

import sys

from driveforge.pipelines.studies.command import run_study
from driveforge.pipelines.studies.validator.settings import ValidatorStudy
from driveforge.pipelines.studies.validator.study import study_validator

ABOUT = """\
Measures good clips and clips corrupted in every known way, at three sizes, with the measures of others beside ours: an
hour or two on two cores. Writes a page with a picture, and resumes where an earlier call stopped.

  python -m driveforge.pipelines.studies.validator rows=[64] num_good=200 --out /tmp/study.md"""

if __name__ == "__main__":
    sys.exit(run_study(ValidatorStudy, study_validator, ABOUT))
