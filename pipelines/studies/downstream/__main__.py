"""``python -m driveforge.pipelines.studies.downstream --help``"""

import sys

from driveforge.pipelines.studies.command import run_study
from driveforge.pipelines.studies.downstream.settings import DownstreamStudy
from driveforge.pipelines.studies.downstream.study import study_downstream

ABOUT = """\
Trains a small detector with a lane head on simulated drives that stand for real ones, and on clips that a world model
generates from them: accepted by the gate, all, or rejected ones. Takes about 40 minutes of one core, and writes a page
with a picture and a table of all runs. An interrupted study resumes.

  python -m driveforge.pipelines.studies.downstream num_generated=24 num_seeds=2 steps=100 --out /tmp/downstream.md
  python -m driveforge.pipelines.studies.downstream checkpoints=[base,runs/a/model] run_dir=runs/two-models"""

if __name__ == "__main__":
    sys.exit(run_study(DownstreamStudy, study_downstream, ABOUT))
