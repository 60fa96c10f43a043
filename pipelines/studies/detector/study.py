"""Train the detector, and write it with its recipe and training curve."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.pipelines.console import print_result
from driveforge.pipelines.studies.detector.images import count_boxes, load_images
from driveforge.pipelines.studies.detector.network import export
from driveforge.pipelines.studies.detector.settings import DetectorStudy
from driveforge.pipelines.studies.detector.training import TrainedDetector, train

SIMULATED_DETECTOR = Path(__file__).parent / "simulated.onnx"


def train_detector(settings: DetectorStudy, path: Path) -> None:
    """Train and write ``path`` (ONNX), ``path.json`` and ``path.csv``; images are kept in the run folder."""
    _require_export_packages()
    images = load_images(settings.run_dir / "images", settings.seed, settings.worlds)
    trained = train(
        images,
        steps=settings.steps,
        batch_rows=settings.batch_rows,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    export(trained.network, path)
    recipe = {
        "settings": {key: value for key, value in asdict(settings).items() if key != "run_dir"},
        "images": count_boxes(images),
        "parameters": sum(weights.numel() for weights in trained.network.parameters()),
        "seconds_of_one_core": round(trained.seconds),
        "torch": torch.__version__,
    }
    write_atomic(path.with_suffix(".json"), (json.dumps(recipe, indent=2) + "\n").encode())
    write_atomic(path.with_suffix(".csv"), _curve(trained))
    print_result(path)


def _require_export_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"the export of the detector needs {error.name}: pip install onnx onnxscript") from error


def _curve(trained: TrainedDetector) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "loss"])
    writer.writerows((step, f"{loss:.4f}") for step, loss in trained.curve)
    return text.getvalue().encode()
