import argparse
import json
import os
import subprocess
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator

from driveforge.datasets.disclosure import mark_generated
from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.exported import sample_schema
from driveforge.datasets.webdataset_shards.format import clip_members, dump_json
from driveforge.datasets.webdataset_shards.source import ShardSource
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.export.command import export, main
from driveforge.pipelines.export.verify import verify
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.generate.requests import Request
from driveforge.pipelines.generate.worker import candidate_members
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import write_verdict_rows
from tests.datasets.small_clips import older_members, recorded_clip, small_clip
from tests.defaults import sampler_settings

EXAMPLES = Path(__file__).parents[3] / "examples"
REASON = {
    "code": "static_residual",
    "measure": "m",
    "value": 2.0,
    "limit": 1.0,
    "frames": [3],
    "track": "",
    "text": "t",
}


def row(clip_id: str, tar: str, state: str, **changes: Any) -> dict[str, Any]:
    refused = state != "accepted"
    return {
        "clip_id": clip_id,
        "state": state,
        "gate_state": state,
        "reasons": [REASON] if refused else [],
        "calibration": "known-good",
        "edit": "none",
        "seed": 1,
        "model": "abc123",
        "unit": tar[:3],
        "tar": tar,
    } | changes


def candidate(clip_id: str, number: int) -> dict[str, bytes]:
    """The members of a candidate as generation commits them; too few frames to measure, so it takes milliseconds."""
    clip = small_clip(clip_id, seed=number, num_frames=4) if number else recorded_clip(clip_id, num_frames=4)
    settings = sampler_settings(sigmas=(0.7, 0.2) if number else (), negative_prompt="blur" if number else None)
    request = Request(scene=clip.scene, seed=1, model="abc123", settings=settings, edit="as-recorded")
    return candidate_members(request, clip)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A run with six committed candidates in two units, three of them accepted, one of those by a reviewer."""
    log = CommitLog(tmp_path / "candidates")
    for unit in ("u-0", "u-1"):
        samples = [(f"{unit}-{i}", candidate(f"{unit}-{i}", i)) for i in range(3)]
        log.commit(unit, write_tar(tmp_path / "scratch.tar", samples).path)
    tars = [marker.tar for marker in log.read_markers()]
    by_review = {
        "gate_state": "rejected",
        "reasons": [REASON],
        "override_reviewer": "Ada",
        "override_reason": "a shadow",
    }
    put_ledger(
        tmp_path,
        [
            row("u-0-0", tars[0], "accepted"),
            row("u-0-1", tars[0], "rejected"),
            row("u-0-2", tars[0], "rejected"),
            row("u-1-0", tars[1], "accepted", score=1.5, limit=2.5),
            row("u-1-1", tars[1], "accepted", **by_review),
            row("u-1-2", tars[1], "unmeasured", reasons=[]),
        ],
    )
    return compose([f"run_dir={tmp_path}", "export.clips_per_shard=2"])


def put_ledger(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    write_verdict_rows(RunDir(run_dir).verdicts, rows)


def test_only_what_was_accepted_is_exported_with_its_verdict(config: Config) -> None:
    summary = export(config.run, config.export)
    source = ShardSource(config.run_dir / "shards")
    assert {scene.clip_id for scene in source.scenes()} == {"u-0-0", "u-1-0", "u-1-1"}
    assert summary.metrics == {"clips": 3, "shards": 3} and verify(config.run_dir / "shards").ok
    verdict = source.metadata("u-1-1")["verdict"]
    assert (verdict["gate_state"], verdict["override_reviewer"], verdict["reasons"]) == (
        "rejected",
        "Ada",
        "static_residual",
    )
    assert source.metadata("u-0-0")["seed"] == 1


def test_clips_of_an_evaluation_split_are_exported_marked_and_only_on_request(tmp_path: Path) -> None:
    config = compose([f"run_dir={tmp_path}"])
    log = CommitLog(config.run.candidates)
    log.commit("u-0", write_tar(tmp_path / "x.tar", [("a", clip_members(small_clip("a", split="val"), {}))]).path)
    put_ledger(tmp_path, [row("a", log.read_marker("u-0").tar, "accepted")])
    with pytest.raises(UserError, match="1 accepted clips, a for example, come from scenes of an evaluation split"):
        export(config.run, config.export)
    assert not config.run.shards.exists()
    export(config.run, replace(config.export, allow_evaluation_split=True))
    assert ShardSource(config.run.shards).metadata("a")["from_evaluation_split"] is True
    assert "| from scenes of an evaluation split | 1 of 1 |" in (config.run.shards / "README.md").read_text()


def test_every_key_has_one_type_in_all_samples(config: Config) -> None:
    export(config.run, config.export)
    tars = sorted((config.run_dir / "shards").glob("*.tar"))
    described = [json.loads(members["json"]) for tar in tars for _, members in read_samples(tar)]
    assert len(described) == 3
    for first, other in permutations(described, 2):
        # As Hugging Face's loader does it: the types are those of the first samples, and all others have to fit.
        types = pa.Table.from_pylist([first]).schema
        assert pa.Table.from_pylist([other]).schema.equals(types)
        assert not nulls(first)


def test_every_sample_fits_the_schema_of_the_export(config: Config) -> None:
    export(config.run, config.export)
    shards = config.run_dir / "shards"
    validator = Draft202012Validator(json.loads((shards / "sample.schema.json").read_bytes()))
    validator.check_schema(validator.schema)
    samples = {key: json.loads(members["json"]) for tar in shards.glob("*.tar") for key, members in read_samples(tar)}
    assert len(samples) == 3
    for key, sample in samples.items():
        assert not [f"{key}: {error.json_path}: {error.message}" for error in validator.iter_errors(sample)]
        assert validator.schema["required"] == list(validator.schema["properties"]) and len(sample) == 21
    recorded, plain = samples["u-0-0"], samples["u-1-1"]
    assert recorded["cameras"][0]["image_times_us"][1] == 1_533_201_470_100_123
    assert recorded["cameras"][0]["image_tokens"] == ["image-0", "image-1", "image-2", "image-3"]
    assert plain["cameras"][0]["image_times_us"] == [-1] * 4 and plain["cameras"][0]["image_tokens"] == [""] * 4
    assert json.loads(plain["metadata"]["settings"])["negative_prompt"] == "blur"
    assert json.loads(plain["metadata"]["measures"])["clip_id"] == "u-1-1"
    for key in ("schema_version", "weather", "cameras", "license"):
        wrong = {name: value for name, value in recorded.items() if name != key}
        assert not validator.is_valid(wrong) and not validator.is_valid(recorded | {key: None})


def test_license_name_and_score_are_in_every_sample(config: Config) -> None:
    named = replace(config.export, license="CC-BY-4.0", name="night-drives")
    export(config.run, named)
    source = [members for tar in config.run.shards.glob("*.tar") for _, members in read_samples(tar)]
    for members in source:
        sample = json.loads(members["json"])
        assert (sample["license"], sample["dataset"], sample["derived_from_split"]) == (
            "CC-BY-4.0",
            "night-drives",
            "train",
        )
        verdict = sample["metadata"]["verdict"]
        scored = sample["clip_id"] == "u-1-0"
        assert (verdict["has_score"], verdict["score"], verdict["limit"]) == (
            scored,
            *((1.5, 2.5) if scored else (0, 0)),
        )


def test_candidates_of_an_older_version_are_completed(config: Config) -> None:
    """As if they had been generated before: no annotations, no mark in the video."""
    log = CommitLog(config.run.candidates)
    clip = small_clip("old-1", num_frames=4)
    members = older_members(clip, 2)
    assert "annotations.npz" not in members
    record = json.loads(members["json"]) | {"metadata": json.loads(candidate("old-1", 1)["json"])["metadata"]}
    log.commit("u-9", write_tar(config.run_dir / "old.tar", [("old-1", members | {"json": dump_json(record)})]).path)
    put_ledger(config.run_dir, [row("old-1", log.read_marker("u-9").tar, "accepted")])
    export(config.run, config.export)
    ((_, exported),) = [sample for tar in config.run.shards.glob("*.tar") for sample in read_samples(tar)]
    newer = clip_members(clip, {})
    for name in ("annotations.npz", "ego_motion.npz", "tracks.npz", "poses.npy"):
        assert exported[name] == newer[name]
    assert exported["cam_front.mp4"] == mark_generated(newer["cam_front.mp4"]) != newer["cam_front.mp4"]
    validator = Draft202012Validator(json.loads(sample_schema()))
    assert validator.is_valid(json.loads(exported["json"])) and verify(config.run.shards).ok


def nulls(value: Any, key: str = "") -> list[str]:
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in nulls(item, f"{key}.{name}")]
    if isinstance(value, list):
        return [found for item in value for found in nulls(item, key)]
    return [key] if value is None else []


def test_the_card_tells_the_ledger(config: Config) -> None:
    export(config.run, config.export)
    card = (config.run_dir / "shards" / "README.md").read_text()
    for words in (
        "| generated clips | 6 |",
        "| accepted clips | 3 |",
        "| rejected clips, by reason | 2 static_residual, 1 unmeasured |",
        "`abc123`",
        "known-good",
    ):
        assert words in card


def test_exporting_again_changes_nothing_and_follows_a_new_ledger(config: Config) -> None:
    export(config.run, config.export)
    shards = config.run_dir / "shards"
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    export(config.run, config.export)
    assert before == {path.name: path.read_bytes() for path in shards.iterdir()}
    tar = CommitLog(config.run_dir / "candidates").read_markers()[0].tar
    put_ledger(config.run_dir, [row("u-0-2", tar, "accepted")])
    export(config.run, config.export)
    assert [scene.clip_id for scene in ShardSource(shards).scenes()] == ["u-0-2"] and verify(shards).ok


def test_a_ledger_that_is_missing_old_or_accepts_nothing_is_told(config: Config) -> None:
    tar = CommitLog(config.run_dir / "candidates").read_markers()[0].tar
    put_ledger(config.run_dir, [row("gone", tar, "accepted")])
    with pytest.raises(UserError, match="no longer has gone: run `driveforge gate` again"):
        export(config.run, config.export)
    put_ledger(config.run_dir, [row("u-0-0", tar, "rejected")])
    with pytest.raises(UserError, match="no clip was accepted"):
        export(config.run, config.export)
    (config.run.verdicts).unlink()
    with pytest.raises(UserError, match="run `driveforge gate` first"):
        export(config.run, config.export)
    assert not (config.run_dir / "shards" / "index.json").exists()


def test_the_command_says_where_the_shards_are(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    main(compose([f"run_dir={config.run_dir}"]), argparse.Namespace())
    shards = json.loads((config.run_dir / "shards" / "index.json").read_bytes())["shards"]
    assert f"3 clips in {len(shards)} shards: {config.run_dir}/shards\n" in capsys.readouterr().out


def readers_python() -> str:
    """The Python of an environment with Hugging Face datasets and Megatron-Energon, which are not dependencies."""
    if "READERS_PYTHON" not in os.environ:
        pytest.skip("READERS_PYTHON does not name a Python with datasets and megatron-energon")
    return os.environ["READERS_PYTHON"]


def run_example(name: str, *args: object, cache: Path) -> list[str]:
    """The lines that an example prints."""
    command = [readers_python(), str(EXAMPLES / name), *map(str, args)]
    environment = os.environ | {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, cwd=cache.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("is_reviewed", [False, True])
def test_hugging_face_loads_the_shards(config: Config, tmp_path: Path, is_reviewed: bool) -> None:
    if not is_reviewed:
        tar = CommitLog(config.run.candidates).read_markers()[0].tar
        put_ledger(config.run_dir, [row(f"u-0-{i}", tar, "accepted") for i in range(3)])
    export(config.run, config.export)
    lines = run_example("load_huggingface.py", config.run.shards, "train", cache=tmp_path / "cache")
    keys = {"u-0-0", "u-1-0", "u-1-1"} if is_reviewed else {"u-0-0", "u-0-1", "u-0-2"}
    assert {line.split()[1] for line in lines if line.startswith("streamed ")} == keys
    loaded = [line for line in lines if line.startswith("loaded ")]
    assert {line.split()[1] for line in loaded} == keys and len(loaded) == 3
    assert all("1 cameras, 2 objects" in line for line in loaded)


@pytest.mark.slow
def test_energon_loads_the_shards_and_verify_tolerates_its_files(config: Config, tmp_path: Path) -> None:
    export(config.run, config.export)
    energon = Path(readers_python()).with_name("energon")
    options = ["--non-interactive", "--split-ratio", "1,0,0", "--sample-type", "CrudeWebdataset"]
    subprocess.run([energon, "prepare", config.run.shards, *options], check=True, capture_output=True)
    lines = run_example("load_energon.py", config.run.shards, cache=tmp_path / "cache")
    loaded = [line for line in lines if line.startswith("loaded ")]
    assert {line.split()[1] for line in loaded} == {"u-0-0", "u-1-0", "u-1-1"} and len(loaded) == 3
    assert all("(1, 2, 4, 4)" in line for line in loaded)
    report = verify(config.run.shards)
    assert report.ok and ".nv-meta" in report.extras
