"""A detector from an ONNX file, run by ONNX Runtime on one core.

Three conventions of exported detectors are understood: outputs named boxes, scores and labels, as of torchvision;
the same with a second input orig_target_sizes, as of RT-DETR; and one output of six columns, as of YOLO with
non-maximum suppression in the graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.geometry import Array
from driveforge.validation.instruments import Detections, Detector
from driveforge.validation.local_weights import require_local

SIZES_INPUT = "orig_target_sizes"
PIXEL_TYPES = ("tensor(float)", "tensor(uint8)")
PADDING = 114  # gray level beside an image in an input of a fixed size, as YOLO pads
EXPECTED_OUTPUTS = (
    "outputs named boxes (N, 4) x0, y0, x1, y1 in pixels of the input, scores (N,) and, if it has classes, labels (N,) "
    "or one output (1, N, 6) x0, y0, x1, y1, score, label"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _ImageInput:
    """The image input of a file; ``rank`` is 4, or 3 without a batch. ``fixed`` is its rows and columns, if fixed."""

    name: str
    rank: int
    is_float: bool
    fixed: tuple[int, int] | None
    has_sizes: bool


def load_detector(path: Path, labels: Sequence[int] = ()) -> Detector:
    """Load an ONNX file; only detections with one of the ``labels`` count, or all if there are none.

    Its input is one image RGB, ``(1, 3, H, W)`` or ``(3, H, W)``, float32 in 0..1 or uint8. An image is scaled and
    padded to an input of a fixed size. Raises UserError if the package or the file is missing or if inputs or outputs
    are of another kind; the loaded detector raises it if it fails or does not return boxes and scores.
    """
    runtime = _require_onnxruntime()
    require_local(path, "ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # clips are measured in parallel processes
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the exceptions of ONNX Runtime have no common base
        raise UserError(f"{path}: not an ONNX file that ONNX Runtime can load: {_last_line(error)}") from error
    image_input = _image_input(path, session.get_inputs())
    names = [output.name for output in session.get_outputs()]
    _check_outputs(path, names, labels)

    def detect(image: NDArray[np.uint8]) -> Detections:
        pixels, scale = _fit(image, image_input.fixed)
        feeds = _feeds(pixels, image_input)
        try:
            outputs = dict(zip(names, session.run(None, feeds), strict=True))
        except Exception as error:
            raise UserError(f"{path}: fails on an image of {image.shape[:2]} px: {_last_line(error)}") from error
        boxes, scores, found_labels = _parse(path, outputs)
        kept = np.isin(found_labels, labels) if labels else np.ones(len(scores), bool)
        return Detections(boxes=boxes[kept] / scale, scores=scores[kept])

    return detect


def _require_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError('validate.detector needs onnxruntime: pip install "driveforge[detector]"') from error
    return onnxruntime


def _image_input(path: Path, inputs: Sequence[Any]) -> _ImageInput:
    images = [one for one in inputs if one.name != SIZES_INPUT]
    if len(images) != 1:
        names = ", ".join(one.name for one in inputs)
        raise UserError(f"{path}: must have one image as its input, but has {shorten(names)}")
    (image,) = images
    shape, rank = image.shape, len(image.shape)
    if not _is_one_image(shape):
        raise UserError(f"{path}: input {image.name} has shape {shape}; must be one image (1, 3, H, W) or (3, H, W)")
    if image.type not in PIXEL_TYPES:
        raise UserError(f"{path}: input {image.name} is {image.type}; must be float32 in 0..1, or uint8")
    rows, columns = shape[-2:]
    fixed = (rows, columns) if isinstance(rows, int) and isinstance(columns, int) else None
    return _ImageInput(
        name=image.name, rank=rank, is_float=image.type == PIXEL_TYPES[0], fixed=fixed, has_sizes=len(inputs) > 1
    )


def _is_one_image(shape: Sequence[int | str | None]) -> bool:
    """Whether an input takes ``(1, 3, H, W)`` or ``(3, H, W)``; a size that is not fixed has a name or is None."""
    expected = {4: (1, 3), 3: (3,)}.get(len(shape))
    if expected is None:
        return False
    return all(size == want for size, want in zip(shape, expected, strict=False) if isinstance(size, int))


def _check_outputs(path: Path, names: Sequence[str], labels: Sequence[int]) -> None:
    if not ({"boxes", "scores"} <= set(names) or len(names) == 1):
        raise UserError(f"{path}: outputs are {shorten(', '.join(names))}; export it with {EXPECTED_OUTPUTS}")
    if labels and len(names) > 1 and "labels" not in names:
        raise UserError(f"{path}: validate.detector_labels is set, but the detector has no output named labels")


def _fit(image: NDArray[np.uint8], fixed: tuple[int, int] | None) -> tuple[NDArray[np.uint8], float]:
    """The image, scaled and padded to the right and below if the size of the input is ``fixed``, and the scale."""
    if fixed is None or image.shape[:2] == fixed:
        return image, 1.0
    scale = min(fixed[0] / image.shape[0], fixed[1] / image.shape[1])
    rows, columns = (min(round(scale * side), limit) for side, limit in zip(image.shape, fixed, strict=False))
    padded = np.full((*fixed, 3), PADDING, np.uint8)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    padded[:rows, :columns] = cv2.resize(image, (columns, rows), interpolation=method)
    return padded, scale


def _feeds(pixels: NDArray[np.uint8], image_input: _ImageInput) -> dict[str, NDArray[Any]]:
    values: NDArray[Any] = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if image_input.is_float:
        values = values.astype(np.float32) / np.float32(255)
    feeds: dict[str, NDArray[Any]] = {image_input.name: values if image_input.rank == 3 else values[None]}
    if image_input.has_sizes:
        feeds[SIZES_INPUT] = np.array([[pixels.shape[1], pixels.shape[0]]], np.int64)
    return feeds


def _parse(path: Path, outputs: Mapping[str, Array]) -> tuple[Array, Array, NDArray[np.int64]]:
    """Boxes ``(N, 4)``, scores ``(N,)`` and labels ``(N,)``, zeros if there are none."""
    if "boxes" in outputs and "scores" in outputs:
        boxes, scores = (_unbatched(outputs["boxes"], 2), _unbatched(outputs["scores"], 1))
        labels = _unbatched(outputs["labels"], 1) if "labels" in outputs else np.zeros(scores.shape, np.int64)
    else:
        rows = _unbatched(next(iter(outputs.values())), 2)
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise UserError(f"{path}: its output has shape {rows.shape}; export it with {EXPECTED_OUTPUTS}")
        boxes, scores, labels = rows[:, :4], rows[:, 4], rows[:, 5]
    if scores.ndim != 1 or boxes.shape != (len(scores), 4) or labels.shape != scores.shape:
        shapes = f"boxes {boxes.shape}, scores {scores.shape} and labels {labels.shape}"
        raise UserError(f"{path}: returns {shapes}; export it with {EXPECTED_OUTPUTS}")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all() and ((scores >= 0) & (scores <= 1)).all()):
        raise UserError(f"{path}: must return finite boxes and scores in 0..1, as after a sigmoid")
    return boxes.astype(np.float64), scores.astype(np.float64), labels.astype(np.int64)


def _unbatched(output: Array, rank: int) -> Array:
    return output[0] if output.ndim == rank + 1 and len(output) == 1 else output


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return shorten(lines[-1]) if lines else type(error).__name__
