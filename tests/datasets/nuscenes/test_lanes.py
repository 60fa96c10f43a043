"""Lanes from the map expansion and from the lane file, cropped to the surroundings of the path."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.nuscenes.lanes import read_lanes, write_lanes
from driveforge.datasets.nuscenes.source import NuScenesSource
from driveforge.datasets.scene import Lane
from tests.datasets.nuscenes.world import VERSION, edit_table, write_world

LOCATION = "boston-seaport"
LAYERS = (
    "polygon", "line", "node", "drivable_area", "road_segment", "road_block", "lane", "ped_crossing", "walkway",
    "stop_line", "carpark_area", "road_divider", "lane_divider", "traffic_light", "lane_connector",
)  # fmt: skip


def write_expansion(root: Path) -> Path:
    """A map of one road: a drivable area, a lane divider, a crossing, and a distant divider."""
    city: dict[str, Any] = {layer: [] for layer in LAYERS}
    city |= {"version": "1.3", "canvas_edge": [1000, 1000], "arcline_path_3": {}, "connectivity": {}}

    def nodes(points: list[tuple[float, float]]) -> list[str]:
        tokens = [f"node{len(city['node']) + n}" for n in range(len(points))]
        city["node"] += [{"token": t, "x": x, "y": y} for t, (x, y) in zip(tokens, points, strict=True)]
        return tokens

    def polygon(points: list[tuple[float, float]]) -> str:
        token = f"polygon{len(city['polygon'])}"
        city["polygon"].append({"token": token, "exterior_node_tokens": nodes(points), "holes": []})
        return token

    for layer, points in (
        ("lane_divider", [(280.0, 202.0), (340, 202)]),
        ("road_divider", [(900.0, 900.0), (950, 900)]),
    ):
        city["line"].append({"token": f"{layer}-line", "node_tokens": nodes(points)})
        city[layer].append({"token": layer, "line_token": f"{layer}-line"})
    road = polygon([(280, 198), (340, 198), (340, 206), (280, 206)])
    city["drivable_area"].append({"token": "road", "polygon_tokens": [road]})
    stripes = polygon([(320, 198), (323, 198), (323, 206), (320, 206)])
    city["ped_crossing"].append({"token": "crossing", "polygon_token": stripes, "road_segment_token": ""})
    path = root / "maps" / "expansion" / f"{LOCATION}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(city))
    return path


def test_map_expansion_gives_dividers_boundaries_and_crossings(tmp_path: Path) -> None:
    root = write_world(tmp_path)
    (root / "maps" / "lanes" / "sim-0001.json").unlink()
    edit_table(root, "log", lambda rows: rows[0].update(location=LOCATION))
    assert NuScenesSource(root, VERSION, None).scenes()[0].lanes == ()
    write_expansion(root)
    lanes = NuScenesSource(root, VERSION, None).scenes()[0].lanes
    assert sorted(lane.kind for lane in lanes) == ["boundary", "crossing", "divider"]
    divider = next(lane for lane in lanes if lane.kind == "divider")
    assert divider.points.tolist() == [[280, 202, 0], [340, 202, 0]]
    boundary = next(lane for lane in lanes if lane.kind == "boundary")
    assert np.allclose(boundary.points[0], boundary.points[-1]) and len(boundary.points) == 5


def test_an_invalid_map_expansion_is_named(tmp_path: Path) -> None:
    path = write_expansion(tmp_path)
    path.write_text(path.read_text().replace('"1.3"', '"1.0"'))
    with pytest.raises(UserError, match=rf"cannot read the map expansion {path}"):
        read_lanes(tmp_path, "scene-0001", LOCATION, np.zeros((1, 3)))


def test_the_lane_file_has_priority_and_distant_parts_are_cropped(tmp_path: Path) -> None:
    write_expansion(tmp_path)
    x = np.arange(0.0, 500.0, 10)
    long_lane = Lane(kind="boundary", points=np.stack([x, np.full_like(x, 5), np.zeros_like(x)], -1))
    there_and_back = Lane(kind="divider", points=[[0, 0, 0], [0, 400, 0], [300, 400, 0], [300, 0, 0]])
    write_lanes(tmp_path, "sim-1", [long_lane, there_and_back])
    path = np.array([[0.0, 0, 0], [50, 0, 0], [100, 0, 0]])
    near, divider = read_lanes(tmp_path, "sim-1", LOCATION, path)
    assert near.kind == "boundary" and near.points[:, 0].max() == 160
    assert divider.points.tolist() == [[0, 0, 0], [0, 400, 0]]
