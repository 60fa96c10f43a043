"""``python -m driveforge.pipelines.studies.scale --help``"""

import sys

from driveforge.pipelines.studies.command import run_study
from driveforge.pipelines.studies.scale.settings import ScaleStudy
from driveforge.pipelines.studies.scale.study import study_scale

ABOUT = """\
Simulates generation on 1 to 1,000 GPUs over a week: clips, losses, and what saturates first. The cost of the driver, of
a start and of a commit are measured here, with real Ray actors that sleep instead of generating; the simulation is
checked against them. A few minutes on two cores.

  python -m driveforge.pipelines.studies.scale actors=8 gpus=[1,10] --out /tmp/scale.md"""

if __name__ == "__main__":
    sys.exit(run_study(ScaleStudy, study_scale, ABOUT))
