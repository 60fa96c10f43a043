"""The search for sampler settings with a fake generator, and the choice among its results."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import pyarrow.parquet
import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.cli import main
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.candidates import iter_candidates
from driveforge.pipelines.generate.command import generate_candidates
from driveforge.pipelines.generate.tune.command import tune
from driveforge.pipelines.generate.tune.search import TrialResult
from driveforge.validation.cross_conformal import calibrate

SETTINGS = [
    "run_dir=run",
    "model.generator=tests.pipelines.own_generators:Tunable",
    "data.num_scenes=6",
    "data.num_frames=9",
    "data.height=48",
    "data.width=80",
    "data.domains=[driving-day]",
    "generate.edits=[as-recorded, dusk]",
    "tune.num_steps=[1, 4]",
    "tune.strength=[0.5]",
    "tune.guidance_scale=[1, 2]",
    "tune.num_clips=4",
]
CHOSEN = "generate.sampler.num_steps=4 generate.sampler.strength=0.5 generate.sampler.guidance_scale=1.0"


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A calibration on good clips of the fake generator."""
    folder = tmp_path_factory.mktemp("calibrated")
    few = ["generate.num_clips=16", "generate.clips_per_unit=16", f"run_dir={folder}", "data.num_scenes=16"]
    generate_candidates(compose([*SETTINGS, *few, "generate.edits=[as-recorded]", "generate.sampler.guidance_scale=1"]))
    measures = [candidate.measures for candidate in iter_candidates(folder / "candidates")]
    calibrate(measures, name="good clips", false_reject_rate=0.2).save(folder / "calibration.json")
    return f"validate.calibration={folder / 'calibration.json'}"


@pytest.fixture(autouse=True)
def current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def search(*overrides: str, sampler: Any = "sampler") -> list[TrialResult]:
    return tune(compose([*SETTINGS, *overrides]), sampler)


def committed() -> dict[str, int]:
    """The time of every committed clip."""
    return {path.name: path.stat().st_mtime_ns for path in Path("run/tune/clips").glob("*.tar")}


def test_the_command_recommends_the_fastest_of_the_best_settings(
    calibration: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run").mkdir()
    Path("run/calibration.json").write_bytes(Path(calibration.partition("=")[2]).read_bytes())
    assert main(["tune", "sampler", *SETTINGS]) == 0
    output = capsys.readouterr().out
    assert f"recommended: {CHOSEN}\n" in output
    assert "the current setting accepts" in output and "the difference is within chance (p = 1)" in output
    rows = list(csv.DictReader(Path("run/tune/sampler.csv").read_text().splitlines()))
    assert [(row["num_steps"], row["guidance_scale"]) for row in rows] == [
        ("4", "2"),
        ("1", "1"),
        ("1", "2"),
        ("4", "1"),
    ]
    assert [row["accepted"] for row in rows[1:3]] == ["0", "0"] and int(rows[3]["accepted"]) >= 3
    assert [row["is_recommended"] for row in rows] == ["false", "false", "false", "true"]
    assert [row["is_current"] for row in rows] == ["true", "false", "false", "false"]
    assert 0.03 <= float(rows[3]["seconds_per_clip"]) < float(rows[0]["seconds_per_clip"])
    clips = pyarrow.parquet.read_table("run/tune/sampler_clips.parquet").to_pylist()
    assert len(clips) == 16 and {clip["edit"] for clip in clips} == {"as-recorded"}
    made = [(clip["setting"], clip["clip_id"].rpartition("-")[0], clip["seed"]) for clip in clips]
    assert len({clip[1:] for clip in made}) == 4 and len(set(made)) == 16, "the same scenes and seeds for every setting"
    for picture in (Path("run/tune/sampler.png"), Path("run/tune/sampler_sheets/steps-4-strength-0.5-guidance-1.png")):
        assert cv2.imread(str(picture)).std() > 10
    run_ids = json.loads(Path("run/mlflow.json").read_text())
    assert "tune" in run_ids["stages"]


def test_an_interrupted_search_resumes_and_a_larger_one_keeps_its_clips(calibration: str) -> None:
    Path("fail").touch()
    with pytest.raises(UserError, match=r"^8 clips cannot be generated; finished clips are kept; .*: out of memory$"):
        search(calibration)
    before = committed()
    assert len(before) == 8
    Path("fail").unlink()
    assert [len(result.clips) for result in search(calibration)] == [4, 4, 4, 4]
    assert len(committed()) == 16 and committed().items() >= before.items()
    before = committed()
    results = search(calibration, "tune.num_clips=5", "tune.guidance_scale=1", "generate.sampler.guidance_scale=1")
    assert [len(result.clips) for result in results] == [5, 5]
    assert len(committed()) == 18 and committed().items() >= before.items()


def test_clips_without_a_first_frame_have_their_own_sampler(calibration: str) -> None:
    results = search(calibration, "tune.guidance_scale=1", "tune.num_clips=2", sampler="sampler_without_frame")
    assert [(r.settings.num_steps, r.settings.strength) for r in results] == [(8, 1.0), (1, 1.0), (4, 1.0)]
    clips = [clip.candidate.metadata for result in results for clip in result.clips]
    assert {clip["edit"] for clip in clips} == {"dusk"} and {clip["first_frames"] for clip in clips} == {""}


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("tune.num_steps=[4, 0]", "tune: num_steps must be at least 1, got 0"),
        ("tune.strength=[2]", "tune: strength must be above 0 and at most 1, got 2.0"),
        ("generate.edits=[rain]", "no edit whose clips generate.sampler generates; add one of as-recorded, "),
        ("generate.edits=[fog]", "generate.edits\\[0\\]: no edit 'fog'"),
        ("validate.calibration=none.json", "none.json does not exist: run `driveforge calibrate` first"),
        ("model.generator=nowhere:Model", "no module 'nowhere'"),
    ],
)
def test_a_search_that_cannot_work_is_refused_before_a_clip_is_generated(
    calibration: str, override: str, line: str
) -> None:
    with pytest.raises(UserError, match=line):
        search(calibration, override)
    assert not committed()
