"""``examples/nuscenes_infos.py`` converts an export as trainers do, and keeps every box."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes

from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.export.command import export
from tests.datasets.nuscenes.world import small_scene, track
from tests.pipelines.export.accepted_runs import write_run

SCRIPT = Path(__file__).parents[1] / "examples" / "nuscenes_infos.py"
HIDDEN = track("hidden", "vehicle.bus.rigid", (330, 202), (0.0, 0.0), size=(4.0, 1.6, 1.4))
FAR = track("far", "vehicle.bicycle", (450, 300), (3.0, -2.0), size=(1.8, 0.6, 1.5))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tracks = (*small_scene().tracks, HIDDEN, FAR)
    scenes = [small_scene("clip-a", split="train", tracks=tracks), small_scene("clip-b", split="val", tracks=tracks)]
    run = write_run(tmp_path_factory.mktemp("run"), scenes)
    return export(
        run, compose([f"run_dir={run.root}", "export.format=nuscenes", "export.allow_evaluation_split=true"]).export
    ).folder


@pytest.fixture(scope="module")
def infos(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("infos") / "infos.json"
    command = [sys.executable, str(SCRIPT), str(exported), "v1.0-trainval", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "3 train samples, 3 val samples, 0 of other splits or none\n" and result.stderr == ""
    return dict(json.loads(out.read_text()))


def test_every_box_is_kept_with_its_velocity(infos: dict[str, list[dict[str, Any]]], exported: Path) -> None:
    nusc = NuScenes("v1.0-trainval", str(exported), verbose=False)
    samples = [*infos["train"], *infos["val"]]
    assert sum(len(info["valid_flag"]) for info in samples) == len(nusc.sample_annotation) == 2 * (3 * 4 + 1)
    for info in samples:
        assert all(info["valid_flag"]) and min(info["num_lidar_pts"]) >= 1
        rotation = np.array(info["lidar2global"])[:3, :3]
        velocities = dict(zip(info["gt_names"], info["gt_velocity"], strict=True))
        expected = {
            "vehicle.car": [7, 1],
            "vehicle.truck": [8, 0],
            "vehicle.bicycle": [3, -2],
            "vehicle.bus.rigid": [0, 0],
        }
        for name, velocity in expected.items():
            np.testing.assert_allclose((rotation @ [*velocities[name], 0.0])[:2], velocity, atol=1e-5)


def test_boxes_in_the_lidar_frame_project_into_the_cameras(infos: dict[str, list[dict[str, Any]]]) -> None:
    scene = small_scene()
    for key, info in zip((0, 5, 10), infos["train"], strict=True):
        assert sorted(info["cams"]) == ["CAM_BACK", "CAM_FRONT"] and Path(info["lidar_path"]).is_file()
        car = info["gt_boxes"][info["gt_names"].index("vehicle.car")]
        assert car[3:6] == pytest.approx([4.5, 1.9, 1.6])
        for name, camera in info["cams"].items():
            projected = np.array(camera["cam_intrinsic"]) @ _apply(np.linalg.inv(camera["sensor2lidar"]), car[:3])
            center = scene.tracks[0].box_to_world[key, :3, 3]
            of_scene = scene.camera(name)
            world_to_camera = np.linalg.inv(scene.camera_to_world(of_scene)[key])
            np.testing.assert_allclose(projected, of_scene.intrinsics @ _apply(world_to_camera, center), atol=1e-5)


def _apply(matrix: Any, point: Any) -> Any:
    return (np.asarray(matrix) @ [*point, 1.0])[:3]


def test_sweeps_are_the_measurements_before_a_key_frame(infos: dict[str, list[dict[str, Any]]]) -> None:
    for key, info in zip((0, 5, 10), infos["val"], strict=True):
        ages = [(info["timestamp"] - sweep["timestamp"]) / 1e6 for sweep in info["sweeps"]]
        assert ages == pytest.approx([0.1 * n for n in range(1, key + 1)])
        assert all(Path(sweep["data_path"]).is_file() for sweep in info["sweeps"])


def test_only_the_devkit_and_numpy_are_needed() -> None:
    tree = ast.parse(SCRIPT.read_text())
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {module.split(".")[0] for module in modules} - sys.stdlib_module_names
    assert tops == {"numpy", "nuscenes", "pyquaternion"}
