"""``python -m driveforge.pipelines.studies.artifacts --help``"""

import sys

from driveforge.pipelines.studies.artifacts.settings import ArtifactStudy
from driveforge.pipelines.studies.artifacts.study import train_artifact_network
from driveforge.pipelines.studies.command import run_study

ABOUT = """\
Trains the artifact network of the measure object_artifacts on simulated crops, and evaluates it:
about half an hour on two cores. Resumes after an interruption.

  python -m driveforge.pipelines.studies.artifacts num_clips=16 steps=100 out=/tmp/weights --out /tmp/artifacts.md"""

if __name__ == "__main__":
    sys.exit(run_study(ArtifactStudy, train_artifact_network, ABOUT))
