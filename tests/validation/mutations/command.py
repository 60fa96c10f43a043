"""Mutations of the command of a clip: poses, calibration, timestamps, cameras."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from driveforge.datasets.geometry import pose
from driveforge.datasets.scene import Camera, Clip, Lane, Scene
from tests.validation.mutations.pixels import Make, Rng


def of_poses(change: Callable[[np.ndarray, Rng], np.ndarray]) -> Make:
    """Apply ``change`` to the ego's poses ``(T, 4, 4)``."""

    def make(clip: Clip, rng: Rng) -> Clip:
        path = np.tile(np.eye(4), (clip.scene.num_frames, 1, 1))
        return clip.with_scene(ego_to_world=change(np.array(_or(clip.scene.ego_to_world, path)), rng))

    return make


def of_camera(change: Callable[[Camera, Rng], dict[str, object]]) -> Make:
    """Apply ``change`` to the first camera."""

    def make(clip: Clip, rng: Rng) -> Clip:
        first, *others = clip.scene.cameras
        return clip.with_scene(cameras=(replace(first, **change(first, rng)), *others))  # type: ignore[arg-type]

    return make


def of_intrinsics(row: int, column: int, draw: Callable[[Rng], float]) -> Make:
    """Replace one entry of the first camera's intrinsics."""

    def change(camera: Camera, rng: Rng) -> dict[str, object]:
        matrix = np.array(_or(camera.intrinsics, np.eye(3)))
        matrix[row, column] = draw(rng)
        return {"intrinsics": matrix}

    return of_camera(change)


def of_mount(change: Callable[[np.ndarray, Rng], np.ndarray]) -> Make:
    """Apply ``change`` to the first camera's mount ``(4, 4)``."""
    return of_camera(
        lambda camera, rng: {
            "camera_to_ego": change(np.array(_or(camera.camera_to_ego, np.eye(4))).reshape(-1, 4, 4)[0], rng)
        }
    )


def of_scene(change: Callable[[Scene, Rng], dict[str, object]]) -> Make:
    return lambda clip, rng: clip.with_scene(**change(clip.scene, rng))


def of_times(change: Callable[[np.ndarray, Rng], object]) -> Make:
    return of_scene(lambda scene, rng: {"timestamps": change(scene.timestamps, rng)})


def _or(array: np.ndarray | None, otherwise: np.ndarray) -> np.ndarray:
    return otherwise if array is None else array


def _rows(path: np.ndarray) -> np.ndarray:
    return np.arange(len(path))[:, None]


def _replaced(array: np.ndarray, rng: Rng, value: float) -> np.ndarray:
    """``array`` with ``value`` at one index."""
    corrupted = np.array(array)
    corrupted.flat[int(rng.integers(corrupted.size))] = value
    return corrupted


def _moved(path: np.ndarray, offset: object) -> np.ndarray:
    return np.asarray(pose(np.eye(3), offset) @ path)  # type: ignore[arg-type]


def _placed(path: np.ndarray, places: np.ndarray) -> np.ndarray:
    path[:, :3, 3] = places
    return path


def _turned(path: np.ndarray, rng: Rng) -> np.ndarray:
    turns = Rotation.random(len(path), random_state=int(rng.integers(2**31))).as_matrix()
    return np.asarray(path @ pose(turns, np.zeros(3)))


def _world_moved(scene: Scene, rng: Rng) -> dict[str, object]:
    offset = 1e6 * rng.normal(size=3)
    poses = None if scene.ego_to_world is None else _moved(scene.ego_to_world, offset)
    tracks = tuple(replace(k, box_to_world=_moved(k.box_to_world, offset)) for k in scene.tracks)
    return {"ego_to_world": poses, "tracks": tracks}


POSES: dict[str, Make] = {
    "pose of NaN": of_poses(lambda path, rng: _replaced(path, rng, np.nan)),
    "pose of infinity": of_poses(lambda path, rng: _replaced(path, rng, -np.inf)),
    "pose beyond floats' squares": of_poses(lambda path, rng: _moved(path, [1e200, -1e200, 0])),
    "pose at the end of floats": of_poses(lambda path, rng: _moved(path, [1.7e308, 1.7e308, 0])),
    "rotation stretched": of_poses(lambda path, rng: path * [[1.2, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]),
    "rotation of zeros": of_poses(lambda path, rng: path * [0, 0, 0, 1]),
    "rotation left-handed": of_poses(lambda path, rng: path @ np.diag([1.0, -1, 1, 1])),
    "too few poses": of_poses(lambda path, rng: path[1:]),
    "the world a million meters away": of_scene(_world_moved),
    "at 1000 m/s": of_poses(lambda path, rng: _placed(path, 100.0 * _rows(path) * [1, 0, 0])),
    "at the speed of light": of_poses(lambda path, rng: _placed(path, 3e7 * _rows(path) * [1, 0, 0])),
    "teleporting": of_poses(lambda path, rng: _placed(path, rng.uniform(-300, 300, (len(path), 3)))),
    "commanded to be stationary": of_poses(lambda path, rng: np.repeat(path[:1], len(path), 0)),
    "stationary, then a jump": of_poses(lambda path, rng: _placed(path, 50.0 * (_rows(path) > len(path) // 2))),
    "commanded to go back": of_poses(lambda path, rng: path[::-1]),
    "commanded to rise": of_poses(lambda path, rng: _placed(path, _rows(path) * [0, 0, 2.0])),
    "commanded to spin": of_poses(_turned),
    "no pose": lambda clip, rng: clip.with_scene(ego_to_world=None),
}

CALIBRATION: dict[str, Make] = {
    "no intrinsics": of_camera(lambda camera, rng: {"intrinsics": None}),
    "no mount": of_camera(lambda camera, rng: {"camera_to_ego": None}),
    "focal 0": of_intrinsics(0, 0, lambda rng: 0.0),
    "focal negative": of_intrinsics(1, 1, lambda rng: -100.0),
    "focal NaN": of_intrinsics(0, 0, lambda rng: np.nan),
    "focal tiny": of_intrinsics(0, 0, lambda rng: 10 ** rng.uniform(-300, -6)),
    "focal huge": of_intrinsics(1, 1, lambda rng: 10 ** rng.uniform(6, 300)),
    "focal short": of_intrinsics(0, 0, lambda rng: 10 ** rng.uniform(-1, 1)),
    "focal long": of_intrinsics(1, 1, lambda rng: 10 ** rng.uniform(3, 5)),
    "principal point far outside": of_intrinsics(0, 2, lambda rng: 10 ** rng.uniform(4, 9)),
    "principal point beyond floats' squares": of_intrinsics(1, 2, lambda rng: 1e300),
    "skew": of_intrinsics(0, 1, lambda rng: rng.normal(0, 500)),
    "singular intrinsics": of_camera(lambda camera, rng: {"intrinsics": [[1, 1, 0], [1, 1, 0], [0, 0, 1]]}),
    "last row of intrinsics": of_intrinsics(2, 0, lambda rng: 1.0),
    "mount of NaN": of_mount(lambda mount, rng: _replaced(mount, rng, np.nan)),
    "mount below the ground": of_mount(lambda mount, rng: _moved(mount, [0, 0, -rng.uniform(1.6, 5)])),
    "mount in the ground": of_mount(lambda mount, rng: _placed(mount[None], np.zeros((1, 3)))[0]),
    "mount a km up": of_mount(lambda mount, rng: _moved(mount, [0, 0, 1000])),
    "mount in any orientation": of_mount(lambda mount, rng: _turned(mount[None], rng)[0]),
    "mount that shakes": of_mount(lambda mount, rng: _turned(np.repeat(mount[None], 9, 0), rng)),
    "mount of two frames": of_mount(lambda mount, rng: np.stack([mount, mount])),
}

TIMES: dict[str, Make] = {
    "times equal": of_times(lambda times, rng: np.zeros(len(times))),
    "times reversed": of_times(lambda times, rng: times[::-1]),
    "times of NaN": of_times(lambda times, rng: _replaced(times, rng, np.nan)),
    "times a year apart": of_times(lambda times, rng: 3e7 * np.arange(len(times))),
    "times of astronomical size": of_times(lambda times, rng: 1e300 * np.arange(len(times))),
    "times in microseconds": of_times(lambda times, rng: 1.5e15 + 1e5 * np.arange(len(times))),
    "times next to each other": of_times(lambda times, rng: 5e-324 * np.arange(len(times))),
    "times a nanosecond apart": of_times(lambda times, rng: 1e-9 * np.arange(len(times))),
    "times a microsecond apart": of_times(lambda times, rng: 1.001e-6 * np.arange(len(times))),
    "times uneven": of_times(lambda times, rng: np.cumsum(10 ** rng.uniform(-5, 2, len(times)))),
    "times before zero": of_times(lambda times, rng: times - 1e6),
    "no times": of_times(lambda times, rng: []),
}


def _duplicates(count: int) -> Make:
    """``count`` more cameras with the pose and the pixels of the first one."""

    def make(clip: Clip, rng: Rng) -> Clip:
        first = clip.scene.cameras[0]
        duplicates = [replace(first, name=f"duplicate-{i}-{len(clip.scene.cameras)}") for i in range(count)]
        frames = np.concatenate([clip.frames, *[clip.frames[:1]] * count])
        return Clip(scene=replace(clip.scene, cameras=(*clip.scene.cameras, *duplicates)), frames=frames)

    return make


def _with_duplicate(change: Callable[[Camera, Rng], dict[str, object]]) -> Make:
    def make(clip: Clip, rng: Rng) -> Clip:
        both = _duplicates(1)(clip, rng)
        return of_camera(change)(both, rng)

    return make


CAMERAS: dict[str, Make] = {
    "a camera twice": _duplicates(1),
    "a camera four times": _duplicates(3),
    "a rotated duplicate": _with_duplicate(lambda c, rng: {"camera_to_ego": _turned(np.eye(4)[None], rng)[0]}),
    "a backward duplicate": _with_duplicate(lambda c, rng: {"camera_to_ego": pose(np.diag([-1, -1, 1]), [0, 0, 1])}),
    "a duplicate camera a km away": _with_duplicate(lambda c, rng: {"camera_to_ego": pose(np.eye(3), [0, 1000, 0])}),
    "a duplicate lens": _with_duplicate(lambda c, rng: {"intrinsics": np.diag([10 ** rng.uniform(0, 4), 90, 1])}),
    "a duplicate camera without calibration": _with_duplicate(lambda c, rng: {"intrinsics": None}),
    "a duplicate camera of the same name": _with_duplicate(lambda c, rng: {"name": "duplicate-0-1"}),
    "a duplicate camera of another size": _with_duplicate(lambda c, rng: {"width": c.width + 2}),
    "no cameras": of_scene(lambda scene, rng: {"cameras": ()}),
    "a camera without pixels": of_scene(lambda s, rng: {"cameras": (*s.cameras, replace(s.cameras[0], name="blind"))}),
    "lane of NaN": of_scene(lambda scene, rng: {"lanes": (Lane(kind="divider", points=[[0, 0, np.nan]]),)}),
    "lane of one point": of_scene(lambda scene, rng: {"lanes": (Lane(kind="divider", points=[[0, 0, 0]]),)}),
    "lane of no points": of_scene(lambda scene, rng: {"lanes": (Lane(kind="divider", points=np.zeros((0, 3))),)}),
}
