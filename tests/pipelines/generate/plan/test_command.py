"""``driveforge plan``: the plan is shown before anything is generated, and generate continues it."""

from pathlib import Path

import pytest

from driveforge.pipelines.cli import main
from driveforge.pipelines.generate.plan.summary import read_summary
from driveforge.pipelines.generate.units import read_plan

SMALL = ("data.height=32", "data.width=48", "data.num_frames=9", "data.num_scenes=6", "data.domains=[driving-day]")
EDITS = "generate.edits=[as-recorded, dusk, {edit: slow, factor: [0.4, 0.7]}, {edit: camera, pitch: 2}]"


def plan(run_dir: Path, *overrides: str) -> int:
    return main(["plan", f"run_dir={run_dir}", *SMALL, EDITS, "generate.num_clips=12", *overrides])


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("planned") / "run"
    assert plan(run_dir) == 0
    return run_dir


def test_the_plan_is_shown_and_drawn(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (planned / "candidates" / "plan.jsonl").read_bytes()
    assert plan(planned) == 0
    out = capsys.readouterr().out
    assert f"Plan {read_plan(planned / 'candidates').id[:12]}: 12 clips in 3 units" in out
    for text in (
        "slow(factor=0.4)",
        "camera(height=0, pitch=2)",
        "from train",
        "speed, m/s",
        "split of the clips: train",
    ):
        assert text in out
    assert (planned / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert (planned / "candidates" / "plan.jsonl").read_bytes() == before
    assert not list((planned / "candidates").glob("*.tar"))


def test_the_same_settings_give_the_same_plan(planned: Path, tmp_path: Path) -> None:
    assert plan(tmp_path / "again") == 0
    first, second = (read_plan(run / "candidates").id for run in (planned, tmp_path / "again"))
    assert first == second


def test_the_summary_counts_what_is_in_the_plan(planned: Path) -> None:
    summary, units = read_summary(planned / "candidates"), read_plan(planned / "candidates").units
    requests = [request for unit in units for request in unit.requests]
    assert summary is not None and summary.num_clips == len(requests) == 12
    assert {edit: sum(counts.values()) for edit, counts in summary.edits.items()} == {
        edit: sum(request.edit == edit for request in requests) for edit in {request.edit for request in requests}
    }
    assert set(summary.captions) == {request.scene.caption for request in requests}
    for counts in summary.traits.values():
        assert sum(clips for clips, _ in counts.values()) == 12
        assert sum(scenes for _, scenes in counts.values()) == summary.num_scenes


def test_a_plan_can_be_replaced_until_a_unit_is_committed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(tmp_path) == 0
    assert plan(tmp_path, "generate.num_clips=8", "generate.balance=[speed]") == 0
    assert len(read_plan(tmp_path / "candidates").units) == 2
    (tmp_path / "candidates" / "_commits").mkdir()
    (tmp_path / "candidates" / "_commits" / "unit-000000.json").write_text("{}")
    assert plan(tmp_path, "generate.num_clips=4") == 2
    assert "holds another plan than that of the current data, model and settings" in capsys.readouterr().err
    assert len(read_plan(tmp_path / "candidates").units) == 2


def test_clips_of_an_evaluation_split_are_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(tmp_path, "generate.source_split=evaluation") == 0
    out = capsys.readouterr().out
    assert "12 clips derive from an evaluation split; every sample of them is marked so" in out and "from val" in out


def test_a_plan_without_its_summary_is_made_again(planned: Path) -> None:
    path = planned / "candidates" / "plan-summary.json"
    content = path.read_bytes()
    path.unlink()
    assert plan(planned) == 0 and path.read_bytes() == content


def test_missing_inputs_of_a_plan_are_stored_again(planned: Path) -> None:
    for folder in ("scenes", "first_frames"):
        path = next((planned / "candidates" / folder).iterdir())
        content = path.read_bytes()
        path.unlink()
        assert plan(planned) == 0 and path.read_bytes() == content


def test_generate_continues_the_plan_and_stores_damaged_inputs_again(tmp_path: Path) -> None:
    own = "model.generator=tests.pipelines.own_generators:Own"
    assert plan(tmp_path, own, "generate.num_clips=4", "generate.clips_per_unit=2", "data.num_scenes=2") == 0
    path = tmp_path / "candidates" / "plan.jsonl"
    before, scene = path.read_bytes(), sorted((tmp_path / "candidates" / "scenes").iterdir())[0]
    intact = scene.read_bytes()
    scene.write_bytes(intact[:-1] + b" ")
    generate = ["generate", f"run_dir={tmp_path}", "executor.max_attempts=1"]
    assert main(generate) == 1, "a unit fails"
    assert main(generate) == 0
    assert scene.read_bytes() == intact and path.read_bytes() == before
    assert sum(len(unit.clip_ids) for unit in read_plan(tmp_path / "candidates").units) == 4
    assert len(list((tmp_path / "candidates" / "_commits").glob("*.json"))) == 2
