import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines import cli
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.generate.candidates import Candidate, SampleRef, iter_candidates
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.review.decisions import ReviewDecision, append_decision
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import (
    decide,
    gate,
    read_decisions,
    read_verdicts,
    summary_table,
    write_verdicts,
)
from driveforge.pipelines.validate.overrides import Override
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.records import Measures
from tests.datasets.small_clips import small_clip
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.small_plans import generate_small


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(some_measures(60), name="by hand", false_reject_rate=0.05)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, calibration: Calibration) -> Path:
    folder = tmp_path_factory.mktemp("run")
    generate_small(folder / "candidates")
    calibration.save(folder / "calibration.json")
    return folder


@pytest.fixture
def config(run_dir: Path) -> Config:
    (run_dir / "overrides.json").unlink(missing_ok=True)
    return compose([f"run_dir={run_dir}"])


def candidate(measures: Measures) -> Candidate:
    ref = SampleRef(unit="unit-000000", tar=Path("unit-000000.tar"), key=measures.clip_id, members={})
    return Candidate(ref=ref, metadata={"edit": "slower", "seed": 1, "model": "m"}, measures=measures)


@pytest.fixture(scope="module")
def candidates() -> list[Candidate]:
    """Twenty good and five bad candidates."""
    good = some_measures(20, seed=1)
    bad = some_measures(5, seed=2, scale=30.0, prefix="bad")
    return [candidate(measures) for measures in good + bad]


def test_good_clips_pass_and_bad_ones_are_rejected_with_reasons(
    tmp_path: Path, calibration: Calibration, candidates: list[Candidate]
) -> None:
    write_verdicts(RunDir(tmp_path).verdicts, decide(candidates, calibration, {}))
    rows = read_verdicts(RunDir(tmp_path).verdicts)
    assert [row["clip_id"] for row in rows] == [c.clip_id for c in candidates]
    assert [row["state"] for row in rows[20:]] == ["rejected"] * 5
    assert [row["state"] for row in rows[:20]].count("accepted") >= 16
    for row in rows:
        assert (row["state"] == "accepted") == (not row["reasons"]) == (row["score"] <= row["limit"])
        assert row["calibration"] == "by hand"
        assert (row["edit"], row["seed"], row["model"], row["override_reviewer"]) == ("slower", 1, "m", None)
    reasons = {reason["code"]: reason for reason in rows[-1]["reasons"]}
    assert reasons["POSE_YAW"]["value"] > reasons["POSE_YAW"]["limit"]
    assert reasons["POSE_YAW"]["text"]


def test_committed_candidates_are_gated_by_their_stored_measures(config: Config) -> None:
    decisions = gate(config.run, config.calibration_path)
    rows = read_verdicts(config.run.verdicts)
    committed = list(iter_candidates(config.run_dir / "candidates"))
    assert [row["clip_id"] for row in rows] == [c.clip_id for c in committed]
    assert {d.state for d in decisions} == {"unmeasured"}, "four frames are too few to show anything"
    assert all((config.run_dir / "candidates" / row["tar"]).exists() for row in rows)


def test_the_gate_is_deterministic(config: Config) -> None:
    gate(config.run, config.calibration_path)
    first = (config.run.verdicts).read_bytes()
    gate(config.run, config.calibration_path)
    assert (config.run.verdicts).read_bytes() == first


def test_a_reviewer_overrides_the_gate(config: Config) -> None:
    chosen = gate(config.run, config.calibration_path)[3].candidate.clip_id
    word = {chosen: {"verdict": "accept", "reviewer": "anna", "reason": "looks fine"}}
    (config.run_dir / "overrides.json").write_text(json.dumps(word))
    gate(config.run, config.calibration_path)
    rows = {row["clip_id"]: row for row in read_verdicts(config.run.verdicts)}
    assert [clip_id for clip_id, row in rows.items() if row["state"] == "accepted"] == [chosen]
    assert rows[chosen]["gate_state"] == "unmeasured"
    assert (rows[chosen]["override_reviewer"], rows[chosen]["override_reason"]) == ("anna", "looks fine")


def test_decisions_are_read_from_the_verdicts_file(config: Config) -> None:
    chosen = gate(config.run, config.calibration_path)[3].candidate.clip_id
    word = {chosen: {"verdict": "accept", "reviewer": "anna", "reason": "looks fine"}}
    (config.run_dir / "overrides.json").write_text(json.dumps(word))
    made = [(d.candidate.clip_id, d.verdict, d.override) for d in gate(config.run, config.calibration_path)]
    (config.run_dir / "overrides.json").unlink()
    assert [(d.candidate.clip_id, d.verdict, d.override) for d in read_decisions(config.run)] == made


def test_verdicts_of_an_older_version_have_no_score(config: Config) -> None:
    decisions = gate(config.run, config.calibration_path)
    table = pyarrow.parquet.read_table(config.run.verdicts).drop_columns(["score", "limit"])
    digest = hashlib.sha256(json.dumps(table.to_pylist()).encode()).hexdigest()
    pyarrow.parquet.write_table(table.replace_schema_metadata({"driveforge.sha256": digest}), config.run.verdicts)
    older = read_decisions(config.run)
    assert [d.verdict for d in older] == [replace(d.verdict, score=None, limit=None) for d in decisions]
    assert {row["score"] for row in read_verdicts(config.run.verdicts)} == {None}


def test_the_blind_audit_measures_the_gate(
    tmp_path: Path, calibration: Calibration, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of ten accepted clips and the only rejected one are called broken."""
    run = RunDir(tmp_path)
    calibration.save(run.calibration)
    measured = some_measures(12, seed=1) + some_measures(1, seed=2, scale=30.0, prefix="bad")
    metadata = {"edit": "slower", "seed": 1, "model": "m"}
    samples = [
        (m.clip_id, clip_members(small_clip(m.clip_id), {**metadata, "measures": m.to_json()})) for m in measured
    ]
    CommitLog(run.candidates).commit("u-0", write_tar(tmp_path / "scratch.tar", samples).path)
    assert cli.main(["gate", f"run_dir={tmp_path}", "validate.audit_share=1"]) == 0
    assert "Blind audit" not in capsys.readouterr().out
    accepted = [row["clip_id"] for row in read_verdicts(run.verdicts) if row["state"] == "accepted"]
    verdicts = {clip_id: "reject" if n < 2 else "accept" for n, clip_id in enumerate(accepted[:10])} | {
        "bad-0": "reject"
    }
    for clip_id, verdict in verdicts.items():
        made = ReviewDecision(clip=clip_id, reviewer="a", verdict=verdict, time="2026-01-31", blind=True)  # type: ignore[arg-type]
        append_decision(run.decisions, made)
    assert cli.main(["gate", f"run_dir={tmp_path}", "validate.audit_share=1"]) == 0
    # Wilson's interval of 8 in 10 is 49 % to 94 %.
    printed = " ".join(capsys.readouterr().out.split())
    assert "Blind audit, 11 of 13 clips judged: precision 80 % (95 % interval 49 to 94 %) from 10 accepted" in printed
    assert "miss rate 71 %" in printed, "2 of 10 among 12 accepted, 1 of 1 among 1 rejected: 2.4 of 3.4"
    states = {row["clip_id"]: row["state"] for row in read_verdicts(run.verdicts)}
    assert [states[clip_id] for clip_id in accepted[:3]] == ["rejected", "rejected", "accepted"]


def test_an_override_of_an_unknown_clip_is_refused(calibration: Calibration, candidates: list[Candidate]) -> None:
    stray = Override(clip_id="scene-9", state="accepted", reviewer="anna", reason="seen")
    with pytest.raises(UserError, match="this run has no candidate scene-9"):
        decide(candidates, calibration, {"scene-9": stray})


def test_missing_inputs_name_the_command_that_makes_them(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="driveforge calibrate"):
        gate(RunDir(tmp_path), RunDir(tmp_path).calibration)
    with pytest.raises(UserError, match="driveforge generate"):
        gate(RunDir(tmp_path), config.calibration_path)
    with pytest.raises(UserError, match="driveforge gate"):
        read_verdicts(RunDir(tmp_path).verdicts)


def test_the_summary_counts_states_and_reasons(calibration: Calibration, candidates: list[Candidate]) -> None:
    rejected = {
        c.clip_id: Override(clip_id=c.clip_id, state="rejected", reviewer="a", reason="b")
        for c in candidates
        if c.clip_id.startswith("good")
    }
    table = summary_table(decide(candidates, calibration, rejected))
    count_metrics = dict(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert (count_metrics["accepted"], count_metrics["rejected"], count_metrics["unmeasured"]) == ("0", "25", "0")
    assert count_metrics["  POSE_YAW"] >= "5"
    assert int(count_metrics["overridden by review"]) >= 16


def test_a_changed_or_damaged_verdicts_file_is_refused(
    tmp_path: Path, calibration: Calibration, candidates: list[Candidate]
) -> None:
    path = RunDir(tmp_path).verdicts
    write_verdicts(path, decide(candidates, calibration, {}))
    whole, table = path.read_bytes(), pyarrow.parquet.read_table(path)
    states = pa.array(["accepted"] * len(table))
    pyarrow.parquet.write_table(table.set_column(1, "state", states), path)
    with pytest.raises(UserError, match="changed since the gate wrote it"):
        read_verdicts(path)
    for torn in (b"", whole[:100], whole[:-8], whole[:2000] + bytes(500) + whole[2500:]):
        path.write_bytes(torn)
        with pytest.raises(UserError, match=r"verdicts\.parquet: .*run `driveforge gate` again"):
            read_verdicts(path)
