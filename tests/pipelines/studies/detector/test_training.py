"""The training of the detector: its targets, its loss, its export, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from driveforge.pipelines.studies.command import run_study
from driveforge.pipelines.studies.detector.images import PERSON, VEHICLE, LabeledImage, make_images
from driveforge.pipelines.studies.detector.network import STRIDE, DetectorNetwork, ExportedDetector, export
from driveforge.pipelines.studies.detector.settings import DetectorStudy
from driveforge.pipelines.studies.detector.study import train_detector
from driveforge.pipelines.studies.detector.training import make_targets, train
from driveforge.validation.objects.onnx_detector import load_detector


def labeled(boxes: list[list[float]], labels: list[int], rows: int = 64, columns: int = 96) -> LabeledImage:
    """Bright rectangles on a dark image."""
    image = np.full((rows, columns, 3), 40, np.uint8)
    for x0, y0, x1, y1 in boxes:
        image[int(y0) : int(y1), int(x0) : int(x1)] = 200
    return LabeledImage(image=image, boxes=np.array(boxes, np.float32), labels=np.array(labels, np.int64))


def test_a_target_has_one_center_per_object_and_the_box_around_it() -> None:
    vehicle, person = [8.0, 20.0, 40.0, 44.0], [60.0, 10.0, 68.0, 34.0]
    heat, weights, boxes = make_targets(labeled([vehicle, person], [VEHICLE, PERSON]), (16, 24))
    assert np.argwhere(heat == 1).tolist() == [[VEHICLE, 8, 6], [PERSON, 5, 16]]
    assert boxes[:, 8, 6].tolist() == vehicle and boxes[:, 5, 16].tolist() == person
    assert weights[8, 6] > 0 and weights[0, 0] == 0


def test_the_loss_decreases() -> None:
    images = [labeled([[8.0 + 4 * k, 16.0, 40.0 + 4 * k, 40.0]], [VEHICLE], 48, 80) for k in range(8)]
    trained = train(images, steps=50, batch_rows=192, learning_rate=3e-3, seed=0)
    steps, losses = zip(*trained.curve, strict=True)
    assert steps == (25, 50) and losses[1] < 0.7 * losses[0]


@pytest.fixture(scope="module")
def network() -> DetectorNetwork:
    torch.manual_seed(0)
    return DetectorNetwork().eval()


def test_the_exported_file_is_the_network_at_any_size(network: DetectorNetwork, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the export needs onnxscript")
    pytest.importorskip("onnxruntime", reason="a detector needs the extra driveforge[detector]")
    export(network, tmp_path / "network.onnx")
    content = (tmp_path / "network.onnx").read_bytes()
    assert len(content) < 1_500_000 and str(Path.cwd()).encode() not in content
    assert sum(weights.numel() for weights in network.parameters()) < 300_000
    detect = load_detector(tmp_path / "network.onnx")
    for rows, columns in ((128, 224), (97, 161)):
        image = np.random.default_rng(rows).integers(0, 256, (rows, columns, 3), np.uint8)
        with torch.no_grad():
            boxes, scores, _ = ExportedDetector(network)(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
        found = detect(image)
        assert found.scores == pytest.approx(scores.numpy(), abs=1e-5)
        assert found.boxes == pytest.approx(boxes.numpy(), abs=0.05)


def test_cells_are_aligned_with_the_image(network: DetectorNetwork) -> None:
    logits, sides = network(torch.zeros(1, 3, 64, 96))
    assert logits.shape == (1, 2, 64 // STRIDE, 96 // STRIDE) and sides.shape == (1, 4, 64 // STRIDE, 96 // STRIDE)
    assert (sides > 0).all()


def test_images_are_reproducible_and_their_boxes_are_inside() -> None:
    images, again = (make_images(9000, 1, 128) for _ in range(2))
    assert sum(len(one.boxes) for one in images) > 4
    for one, other in zip(images, again, strict=True):
        assert np.array_equal(one.image, other.image) and np.array_equal(one.boxes, other.boxes)
        assert one.image.shape == (128, 224, 3) and set(one.labels) <= {VEHICLE, PERSON}
        assert (one.boxes >= 0).all() and (one.boxes[:, 2] <= 223).all() and (one.boxes[:, 3] <= 127).all()


@pytest.mark.slow
def test_the_command_writes_the_detector_its_recipe_and_its_curve(tmp_path: Path) -> None:
    path = tmp_path / "made" / "small.onnx"
    words = ["worlds=2", "steps=4", f"run_dir={tmp_path / 'run'}", "--out", str(path)]
    assert run_study(DetectorStudy, train_detector, "", words) == 0
    recipe = json.loads(path.with_suffix(".json").read_text())
    assert recipe["settings"]["steps"] == 4 and recipe["images"]["images"] == 16
    assert path.with_suffix(".csv").read_text().startswith("step,loss\n4,")
    assert len(load_detector(path)(np.zeros((64, 96, 3), np.uint8)).scores) > 0
