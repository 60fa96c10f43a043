"""The validator study: its clips, its stored trials, its report."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.simulation.driving import build_driving_world
from driveforge.datasets.simulation.renderer import Renderer
from driveforge.datasets.simulation.rigs import mount_cameras
from driveforge.datasets.simulation.world_to_scene import world_to_scene
from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.validator.baselines.catalog import BASELINES
from driveforge.pipelines.studies.validator.clips import GoodClip, as_annotated, make_clip
from driveforge.pipelines.studies.validator.report import write_report
from driveforge.pipelines.studies.validator.results import auroc, evaluate
from driveforge.pipelines.studies.validator.settings import ValidatorStudy
from driveforge.pipelines.studies.validator.study import make_cases, make_front_cases
from driveforge.pipelines.studies.validator.trials import Case, Trial, run_cases
from driveforge.validation.records import Measures
from tests.pipelines.measure_sets import some_measures


def test_auroc_is_the_probability_that_a_bad_clip_scores_higher() -> None:
    assert auroc([1, 2, 3], [4, 5]) == 1.0
    assert auroc([4, 5], [1, 2, 3]) == 0.0
    assert auroc([1, 1], [1, 1, 1]) == 0.5
    good, bad = np.random.default_rng(0).normal(size=(2, 40))
    assert auroc(good, bad) == pytest.approx(np.mean(bad[:, None] > good[None]))


def test_no_clip_is_in_two_parts_and_only_ordinary_ones_are_corrupted() -> None:
    settings = replace(load_settings(ValidatorStudy), num_good=20, num_audit=10, num_corrupted=9)
    cases = make_cases(settings, 64)
    assert len({case.good.number for case in cases}) == len(cases) == 39
    corrupted = [case for case in cases if case.corruption_types]
    assert len(corrupted) == 9 and {case.good.condition for case in corrupted} == {"usual"}
    assert len(corrupted[0].corruption_types) >= 20
    front = make_front_cases(replace(settings, num_front_cameras=8), 64)
    assert {case.corruption_types for case in front} == {(), ("camera-yaw", "camera-pitch", "camera-async")}
    assert all(len(case.good.cameras) == 3 for case in front)


def test_conditions_are_visible_in_the_clips() -> None:
    usual, night, fast, stationary_pairs = (make_clip(GoodClip(number=n, rows=64, seed=1)) for n in (0, 6, 8, 9))
    assert night.frames.mean() < 0.5 * usual.frames.mean()
    speeds = [
        np.linalg.norm(np.diff(c.scene.ego_to_world[:, :3, 3], axis=0), axis=1).mean() for c in (fast, stationary_pairs)
    ]
    assert speeds[0] > 0.5 > 0.1 > speeds[1]
    assert np.array_equal(make_clip(GoodClip(number=0, rows=64, seed=1)).frames, usual.frames)
    with pytest.raises(UserError, match="choose from 256, 128, 96, 64"):
        GoodClip(number=0, rows=100, seed=1)


def test_boxes_are_present_only_if_their_object_is_visible() -> None:
    """An annotator would not label a box in front of the camera whose object is hidden."""
    cameras = mount_cameras(("CAM_FRONT",), 64, 112)
    world = build_driving_world("day", "follow", 0, np.arange(6) / 10)
    renderer = Renderer(world)
    scene = world_to_scene(world, cameras, clip_id="all", domain="driving-day", split="val")
    annotated = as_annotated(scene, renderer)
    before = {track.id: track.present for track in scene.tracks}
    numbers = {body.id: number for number, body in enumerate(world.bodies)}
    dropped = 0
    for track in annotated.tracks:
        gone = np.flatnonzero(before[track.id] & ~track.present)
        dropped += len(gone) + len(scene.tracks) - len(annotated.tracks)
        assert not (track.present & ~before[track.id]).any()
        assert all(renderer.count_body_pixels(int(t), cameras[0])[numbers[track.id]] < 100 for t in gone)
    assert dropped


def _parse_trial(measures: Measures, corruption_type: str, number: int, factor: float, level: str = "") -> Trial:
    values = tuple(m if m.value is None else replace(m, value=factor * m.value) for m in measures.values)
    return Trial(
        number=number,
        rows=64,
        condition="usual",
        variant="rain",
        corruption_type=corruption_type,
        level=level,
        measures=replace(measures, values=values),
        baselines={name: float(number % 7) for name in BASELINES},
        seconds=0.1,
    )


@pytest.fixture
def trials() -> list[Trial]:
    measures = some_measures(240)
    good = [_parse_trial(m, "", n, 1.0) for n, m in enumerate(measures[:200])]
    mild = [_parse_trial(m, "yaw-rate", n, 2.0, "mild") for n, m in enumerate(measures[200:])]
    return [*good, *mild, *(_parse_trial(m, "yaw-rate", n, 6.0, "strong") for n, m in enumerate(measures[200:]))]


def test_stored_trials_are_reused_and_an_incomplete_line_is_skipped(trials: list[Trial], tmp_path: Path) -> None:
    cases = [Case(good=GoodClip(number=n, rows=64, seed=0)) for n in range(3)]
    lines = [
        json.dumps({"case": case.name, "trials": [{**asdict(trial), "measures": trial.measures.to_json()}]})
        for case, trial in zip(cases, trials, strict=False)
    ]
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text("\n".join([*lines, '{"case": "64-1-0-']))
    assert run_cases(cases, ledger) == trials[:3]


def test_the_report_has_all_sections(trials: list[Trial], tmp_path: Path) -> None:
    result = evaluate("64 rows", trials, num_good=160)
    assert result.rejections["all"].total == result.rejections["rain"].total == 40
    row = next(row for row in result.table if row.level == "strong")
    assert row.auroc["ours"] > 0.95 and row.detected > 0.9 and row.num_clips == 40
    assert all(0.3 < row.auroc[name] < 0.7 for name in BASELINES)
    write_report(tmp_path / "study.md", [result], result, {"Real footage": "None."})
    page = (tmp_path / "study.md").read_text()
    assert "## Real footage\n\nNone." in page
    assert "| yaw-rate, 5 deg/s | 40 |" in page and "![" in page
    assert (tmp_path / "study.png").stat().st_size > 5000
