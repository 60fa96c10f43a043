import argparse
import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.source import ShardSource
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.export.command import export, main
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import write_verdict_rows
from driveforge.pipelines.verify import verify
from tests.datasets.small_clips import small_clip

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


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A run with six committed candidates in two units, three of them accepted, one of those by a reviewer."""
    log = CommitLog(tmp_path / "candidates")
    for unit in ("u-0", "u-1"):
        samples = [(f"{unit}-{i}", clip_members(small_clip(f"{unit}-{i}", seed=i), {"seed": 1})) for i in range(3)]
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
            row("u-1-0", tars[1], "accepted"),
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
