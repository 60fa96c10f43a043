"""``python -m driveforge.pipelines.studies.forgetting --help``"""

import sys

from driveforge.pipelines.studies.command import run_study
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.study import study_forgetting

ABOUT = """\
Fine-tunes small models on driving with every strategy, and evaluates their gains and their forgetting. Takes about
three hours on two cores. Writes a page with a picture. An interrupted study resumes.

  python -m driveforge.pipelines.studies.forgetting num_seeds=1 num_secondary_seeds=1
  python -m driveforge.pipelines.studies.forgetting driving_footage=[road/a.mp4] other_footage=[walk/b.mp4]"""

if __name__ == "__main__":
    sys.exit(run_study(ForgettingStudy, study_forgetting, ABOUT))
