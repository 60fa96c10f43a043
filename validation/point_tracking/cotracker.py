"""CoTracker3, offline, from local weights: Karaev et al., "CoTracker3" (arXiv 2410.11831). Nothing is downloaded.

The architecture is from the package ``cotracker`` (github.com/facebookresearch/co-tracker, CC BY-NC 4.0), which is on
no package index and is installed from a clone. It runs on a GPU if there is one; on a CPU a clip takes minutes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.validation.local_weights import require_local
from driveforge.validation.point_tracking.protocol import QueryPoints, TrackedPoints
from driveforge.validation.views.view import View

if TYPE_CHECKING:
    import torch

WINDOW_LEN = 60  # frames that the time embedding of scaled_offline.pth and baseline_offline.pth was trained for

# Video (1, T, 3, H, W) 0..255 and queries (1, N, 3) of frame, x, y in px, to tracks (1, T, N, 2) px and visibility
# (1, T, N): the forward pass of cotracker.predictor.CoTrackerPredictor.
Predictor = Callable[..., tuple["torch.Tensor", "torch.Tensor"]]


class CoTracker:
    """Tracks each record of query points separately, on its own frames, since a whole clip does not fit into memory."""

    name = "cotracker"

    def __init__(self, predictor: Predictor, device: str = "cpu") -> None:
        self._predictor, self._device = predictor, device

    def track_points(self, view: View, queries: Sequence[QueryPoints]) -> list[TrackedPoints]:
        return [self._track(view, one) for one in queries]

    def _track(self, view: View, queries: QueryPoints) -> TrackedPoints:
        import torch

        shape = (queries.length, len(queries.points))
        if not len(queries.points):
            return TrackedPoints(points=np.zeros((*shape, 2), np.float32), visible=np.ones(shape, bool))
        frames = np.ascontiguousarray(view.frames[queries.start : queries.start + queries.length].transpose(0, 3, 1, 2))
        video = torch.from_numpy(frames)[None].float().to(self._device)
        start_frames = np.zeros((len(queries.points), 1), np.float32)
        frame_and_points = torch.from_numpy(np.concatenate([start_frames, queries.points], 1))
        with torch.inference_mode():
            tracks, visible = self._predictor(video, queries=frame_and_points[None].to(self._device))
        return TrackedPoints(points=tracks[0].float().cpu().numpy(), visible=visible[0].bool().cpu().numpy())


def load_cotracker(weights: Path) -> CoTracker:
    """Load CoTracker3 with ``weights``, which are read as tensors only.

    Raises UserError if there is no such file, if it has other contents, or if the package is not installed.
    """
    import torch

    require_local(weights, "weights of CoTracker3")
    predictor = untrained_predictor()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        predictor.model.load_state_dict(state.get("model", state))
    except Exception as error:  # reading a file with other contents can raise anything
        raise UserError(f"{weights}: not the weights of CoTracker3; use scaled_offline.pth of its authors") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return CoTracker(predictor.to(device), device)


def untrained_predictor() -> Any:
    """The ``CoTrackerPredictor`` of the authors with random weights; raises UserError without their package."""
    import torch

    with torch.random.fork_rng():  # the package seeds torch when it is imported
        try:
            from cotracker.predictor import CoTrackerPredictor
        except ImportError as error:
            raise UserError(
                "validate.tracker=cotracker needs the package cotracker, which is on no package index: "
                "git clone https://github.com/facebookresearch/co-tracker && pip install --no-deps ./co-tracker"
            ) from error
        return CoTrackerPredictor(checkpoint=None, offline=True, window_len=WINDOW_LEN)
