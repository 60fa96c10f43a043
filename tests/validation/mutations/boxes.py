"""Mutations of the boxes of a clip."""

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from driveforge.datasets.geometry import pose
from driveforge.datasets.scene import Clip, Scene, Track
from tests.validation.mutations.pixels import Make, Rng


def _boxes(count: int, draw: Callable[[Scene, Rng], dict[str, object]]) -> Make:
    """``count`` more tracks; ``draw`` gives the fields that differ from a static car at the first pose."""

    def make(clip: Clip, rng: Rng) -> Clip:
        scene = clip.scene
        start = np.eye(4) if scene.ego_to_world is None else scene.ego_to_world[0]
        plain = {
            "category": "vehicle.car",
            "size": [4.0, 2.0, 1.5],
            "box_to_world": np.tile(start, (scene.num_frames, 1, 1)),
            "present": np.ones(scene.num_frames, bool),
        }
        more = [Track(**{"id": f"more-{i}", **plain, **draw(scene, rng)}) for i in range(count)]  # type: ignore[arg-type]
        return clip.with_scene(tracks=(*scene.tracks, *more))

    return make


def _at(scene: Scene, *xyz: float) -> np.ndarray:
    """Poses ``(T, 4, 4)`` of a box with a fixed offset from the ego, meters."""
    path = np.tile(np.eye(4), (scene.num_frames, 1, 1)) if scene.ego_to_world is None else scene.ego_to_world
    return np.asarray(path @ pose(np.eye(3), xyz))


def _anywhere(scene: Scene, rng: Rng) -> dict[str, object]:
    turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    at = [rng.uniform(-5, 60), rng.uniform(-15, 15), rng.uniform(-2, 5)]
    return {"box_to_world": _at(scene, 0, 0, 0) @ pose(turn, at), "size": np.exp(rng.uniform(-2, 2, 3))}


def _spinning(scene: Scene, rng: Rng) -> dict[str, object]:
    turns = Rotation.random(scene.num_frames, random_state=int(rng.integers(2**31))).as_matrix()
    return {"box_to_world": _at(scene, 12, 0, 1) @ pose(turns, np.zeros(3))}


def _teleporting(scene: Scene, rng: Rng) -> dict[str, object]:
    return {"box_to_world": _at(scene, 12, 0, 1) @ pose(np.eye(3), rng.normal(0, 6, (scene.num_frames, 3)))}


def _coming_and_going(scene: Scene, rng: Rng) -> dict[str, object]:
    return {"box_to_world": _at(scene, 12, 1, 1), "present": rng.random(scene.num_frames) < 0.5}


BOXES: dict[str, Make] = {
    "1,000 boxes": _boxes(1000, _anywhere),
    "a few boxes anywhere": _boxes(8, _anywhere),
    "boxes behind": _boxes(3, lambda scene, rng: {"box_to_world": _at(scene, -rng.uniform(3, 50), 0, 1)}),
    "box around the camera": _boxes(1, lambda scene, rng: {"box_to_world": _at(scene, 1.5, 0, 1), "size": [9, 6, 4]}),
    "box at the near plane": _boxes(1, lambda scene, rng: {"box_to_world": _at(scene, rng.uniform(3, 4.6), 0, 1.5)}),
    "box of no size": _boxes(1, lambda scene, rng: {"size": [4.0, 0.0, 1.5]}),
    "box of NaN": _boxes(1, lambda scene, rng: {"size": [4.0, np.nan, 1.5]}),
    "specks": _boxes(3, lambda scene, rng: {"box_to_world": _at(scene, 9, 0, 1), "size": np.full(3, 1e-6)}),
    "flat box": _boxes(1, lambda scene, rng: {"box_to_world": _at(scene, 9, 0, 1), "size": [1e-9, 3, 2]}),
    "huge boxes": _boxes(3, lambda s, rng: {"box_to_world": _at(s, 9, 0, 1), "size": 10 ** rng.uniform(2, 7, 3)}),
    "box beyond all bounds": _boxes(1, lambda scene, rng: {"size": [1e300, 1e300, 1e300]}),
    "box a million km away": _boxes(1, lambda scene, rng: {"box_to_world": _at(scene, 1e9, 0, 0)}),
    "never present": _boxes(4, lambda scene, rng: {"present": np.zeros(scene.num_frames, bool)}),
    "intermittently present": _boxes(6, _coming_and_going),
    "the same box three times": _boxes(3, lambda scene, rng: {"box_to_world": _at(scene, 10, 2.6, 0.85)}),
    "spinning box": _boxes(1, _spinning),
    "teleporting box": _boxes(1, _teleporting),
    "track ids twice": _boxes(2, lambda scene, rng: {"id": "duplicate"}),
    "box poses of NaN": _boxes(1, lambda scene, rng: {"box_to_world": np.full((scene.num_frames, 4, 4), np.nan)}),
    "track of another length": _boxes(1, lambda scene, rng: {"box_to_world": _at(scene, 9, 0, 1)[1:]}),
}  # fmt: skip
