"""``python -m driveforge.pipelines.studies.detector --help``"""

import sys

from driveforge.pipelines.studies.command import run_study
from driveforge.pipelines.studies.detector.settings import DetectorStudy
from driveforge.pipelines.studies.detector.study import SIMULATED_DETECTOR, train_detector

ABOUT = """\
Trains a detector of simulated vehicles and people and writes it as ONNX, with its recipe and training curve: a quarter
of an hour of one core. Needs the packages onnx and onnxscript.

  python -m driveforge.pipelines.studies.detector worlds=20 steps=100 --out /tmp/detector.onnx"""

if __name__ == "__main__":
    sys.exit(run_study(DetectorStudy, train_detector, ABOUT, out=SIMULATED_DETECTOR))
