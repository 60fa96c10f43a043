"""A detector from an ONNX file: the conventions of its inputs and outputs, and its errors."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.validation.instruments import Detections
from driveforge.validation.objects.onnx_detector import load_detector

onnx = pytest.importorskip("onnx", reason="the tests write ONNX files")
pytest.importorskip("onnxruntime", reason="a detector needs the extra driveforge[detector]")

FLOAT, UINT8, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT64
ANY_IMAGE = ("image", FLOAT, [1, 3, "H", "W"])
# Red, 96 x 160 px, as (H, W, 3).
RED = np.tile(np.array([255, 0, 51], np.uint8), (96, 160, 1))


def constant(name: str, values: object, dtype: type = np.float32) -> onnx.NodeProto:
    tensor = onnx.numpy_helper.from_array(np.asarray(values, dtype))
    return onnx.helper.make_node("Constant", [], [name], value=tensor)


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    inputs: Sequence[tuple[str, int, list[int | str]]] = (ANY_IMAGE,),
) -> Path:
    """An ONNX file with ``nodes``; ``inputs`` are name, type and shape. Outputs have any shape."""
    graph = onnx.helper.make_graph(
        list(nodes),
        "detector",
        [onnx.helper.make_tensor_value_info(*one) for one in inputs],
        [onnx.helper.make_tensor_value_info(name, INT64 if name == "labels" else FLOAT, None) for name in outputs],
    )
    opset = onnx.helper.make_opsetid("", 13)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def three_boxes(path: Path, labels: Sequence[int] = (2, 9, 7)) -> Path:
    """Three constant boxes of torchvision's convention."""
    nodes = [
        constant("boxes", [[4, 8, 20, 24], [0, 0, 9, 9], [1, 2, 3, 4]]),
        constant("scores", [0.75, 0.5, 0.25]),
        constant("labels", labels, np.int64),
    ]
    return write(path, nodes, ["boxes", "scores", "labels"])


def scores_of(detections: Detections) -> list[float]:
    return detections.scores.tolist()


def test_boxes_scores_and_labels_by_name(tmp_path: Path) -> None:
    path = three_boxes(tmp_path / "d.onnx")
    found = load_detector(path)(RED)
    assert found.boxes.tolist() == [[4, 8, 20, 24], [0, 0, 9, 9], [1, 2, 3, 4]]
    assert scores_of(found) == [0.75, 0.5, 0.25]
    vehicles = load_detector(path, (2, 7))(RED)
    assert vehicles.boxes.tolist() == [[4, 8, 20, 24], [1, 2, 3, 4]] and scores_of(vehicles) == [0.75, 0.25]


@pytest.mark.parametrize(
    ("dtype", "shape", "scale"),
    [
        (FLOAT, [1, 3, "H", "W"], 1.0),
        (FLOAT, ["N", 3, "H", "W"], 1.0),
        (FLOAT, [3, "H", "W"], 1.0),
        (UINT8, [1, 3, "H", "W"], 255.0),
    ],
)
def test_the_input_is_an_rgb_image_of_its_declared_type(
    tmp_path: Path, dtype: int, shape: list[int | str], scale: float
) -> None:
    axes = [0, 2, 3] if len(shape) == 4 else [1, 2]
    nodes = [
        onnx.helper.make_node("Cast", ["image"], ["pixels"], to=FLOAT),
        constant("unit", scale),
        onnx.helper.make_node("Div", ["pixels", "unit"], ["relative"]),
        onnx.helper.make_node("ReduceMean", ["relative"], ["scores"], axes=axes, keepdims=0),
        constant("boxes", np.zeros((3, 4))),
    ]
    path = write(tmp_path / "d.onnx", nodes, ["boxes", "scores"], [("image", dtype, shape)])
    assert scores_of(load_detector(path)(RED)) == pytest.approx([1.0, 0.0, 0.2], abs=1e-4)


def test_one_output_of_six_columns_from_an_input_of_a_fixed_size(tmp_path: Path) -> None:
    rows = [[[4, 8, 20, 24, 0.5, 0], [0, 0, 2, 2, 0.25, 1]]]
    inputs = [("images", FLOAT, [1, 3, 64, 64])]
    path = write(tmp_path / "d.onnx", [constant("output0", rows)], ["output0"], inputs)
    # 96 x 160 px are scaled by 0.4 to 38 x 64 px.
    found = load_detector(path, (0,))(RED)
    assert found.boxes == pytest.approx(np.array([[10, 20, 50, 60]])) and scores_of(found) == [0.5]


def test_an_image_is_padded_on_the_right_and_below(tmp_path: Path) -> None:
    """The score is the mean of the image: 38 of 64 rows are red, the others gray."""
    nodes = [
        onnx.helper.make_node("ReduceMean", ["image"], ["scores"], axes=[0, 2, 3], keepdims=0),
        constant("boxes", np.zeros((3, 4))),
    ]
    path = write(tmp_path / "d.onnx", nodes, ["boxes", "scores"], [("image", FLOAT, [1, 3, 64, 64])])
    red, _, _ = scores_of(load_detector(path)(RED))
    assert red == pytest.approx((38 + 26 * 114 / 255) / 64, abs=1e-4)


def test_a_second_input_takes_the_size_of_the_image(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=FLOAT),
        onnx.helper.make_node("Concat", ["size", "size"], ["boxes"], axis=1),
        constant("scores", [1.0]),
    ]
    inputs = [ANY_IMAGE, ("orig_target_sizes", INT64, [1, 2])]
    path = write(tmp_path / "d.onnx", nodes, ["boxes", "scores"], inputs)
    assert load_detector(path)(RED).boxes.tolist() == [[160, 96, 160, 96]]


def test_files_that_are_no_detector_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.onnx: no ONNX file at this path"):
        load_detector(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(UserError, match=r"text\.onnx: not an ONNX file that ONNX Runtime can load"):
        load_detector(tmp_path / "text.onnx")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([ANY_IMAGE, ("more", FLOAT, [1])], "must have one image as its input, but has image, more"),
        ([("image", FLOAT, [1, 1, 8, 8])], r"has shape \[1, 1, 8, 8\]; must be one image"),
        ([("image", FLOAT, [8, 3, 8, 8])], r"has shape \[8, 3, 8, 8\]; must be one image"),
        ([("image", FLOAT, [3])], r"has shape \[3\]; must be one image"),
        ([("image", INT64, [1, 3, 8, 8])], "must be float32 in 0..1, or uint8"),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, inputs: list[tuple[str, int, list[int | str]]], message: str) -> None:
    nodes = [constant("boxes", [[0, 0, 1, 1]]), constant("scores", [0.5])]
    path = write(tmp_path / "d.onnx", nodes, ["boxes", "scores"], inputs)
    with pytest.raises(UserError, match=message):
        load_detector(path)


def test_other_outputs_are_refused(tmp_path: Path) -> None:
    logits = [constant("dets", [[0, 0, 1, 1]]), constant("logits", [0.5])]
    with pytest.raises(UserError, match="outputs are dets, logits; export it with outputs named boxes"):
        load_detector(write(tmp_path / "a.onnx", logits, ["dets", "logits"]))
    raw = write(tmp_path / "b.onnx", [constant("output0", np.zeros((1, 84, 30)))], ["output0"])
    with pytest.raises(UserError, match=r"its output has shape \(84, 30\)"):
        load_detector(raw)(RED)
    unequal = [constant("boxes", np.zeros((3, 4))), constant("scores", [0.5, 0.5])]
    with pytest.raises(UserError, match=r"returns boxes \(3, 4\), scores \(2,\) and labels \(2,\)"):
        load_detector(write(tmp_path / "c.onnx", unequal, ["boxes", "scores"]))(RED)
    unbounded = [constant("boxes", [[0, 0, 1, 1]]), constant("scores", [3.5])]
    with pytest.raises(UserError, match=r"scores in 0\.\.1"):
        load_detector(write(tmp_path / "d.onnx", unbounded, ["boxes", "scores"]))(RED)
    with pytest.raises(UserError, match="detector_labels is set, but the detector has no output named labels"):
        load_detector(tmp_path / "d.onnx", (1,))


def test_a_detector_that_fails_on_an_image_is_reported(tmp_path: Path) -> None:
    nodes = [
        constant("shape", [3, 7], np.int64),
        onnx.helper.make_node("Reshape", ["image", "shape"], ["scores"]),
        constant("boxes", np.zeros((3, 4))),
    ]
    path = write(tmp_path / "d.onnx", nodes, ["boxes", "scores"])
    with pytest.raises(UserError, match=r"fails on an image of \(96, 160\) px"):
        load_detector(path)(RED)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install \"driveforge\[detector\]\""):
        load_detector(three_boxes(tmp_path / "d.onnx"))
