"""Limits from reviews: what is proposed, what would change, and when there is too little to go by."""

import json
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines import cli
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.review.decisions import ReviewDecision, append_decision
from driveforge.pipelines.review.proposal import ReviewedClip, describe_proposal, find_shift, propose
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import read_verdicts
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.verdict import judge
from tests.datasets.small_clips import small_clip
from tests.pipelines.measure_sets import some_measures


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(some_measures(60), name="by hand", false_reject_rate=0.05)


def good_clips(margins: np.ndarray, weight: float = 1.0) -> list[ReviewedClip]:
    return [ReviewedClip(clip_id=str(n), is_good=True, margin=float(m), weight=weight) for n, m in enumerate(margins)]


def test_the_shift_is_the_conformal_quantile() -> None:
    """Of 99 good clips, and one more that counts as rejected, 5 % may be rejected: the four with the highest scores."""
    margins = np.random.default_rng(0).permutation(np.arange(99.0))
    assert find_shift(good_clips(margins), 0.05) == (94.0, 0.05)
    assert find_shift(good_clips(margins, weight=7.0), 0.05) == (94.0, pytest.approx(0.05))
    assert find_shift(good_clips(margins), 0.0101)[0] == 98.0


def test_the_shift_keeps_its_promise_for_further_clips() -> None:
    rng = np.random.default_rng(1)
    rejected = [np.mean(rng.normal(size=500) > find_shift(good_clips(rng.normal(size=40)), 0.1)[0]) for _ in range(300)]
    assert 0.06 < np.mean(rejected) <= 0.105


def test_a_clip_counts_for_the_clips_of_its_kind() -> None:
    """One of twenty accepted clips is reviewed for each rejected one: rejected good clips weigh little."""
    accepted, rejected = good_clips(np.full(90, -1.0), weight=20.0), good_clips(np.linspace(1, 2, 30), weight=1.0)
    shift, share = find_shift([*accepted, *rejected], 0.05)
    assert shift == -1.0 and share == pytest.approx((30 + 20) / (1830 + 20))
    assert find_shift(good_clips(np.r_[np.full(90, -1.0), np.linspace(1, 2, 30)]), 0.05)[0] > 1.8


def test_too_few_reviews_are_refused() -> None:
    with pytest.raises(UserError, match=r"reviewers accept 18 measured clips.* needs \d+: judge more clips"):
        find_shift(good_clips(np.zeros(18)), 0.05)
    lopsided = [*good_clips(np.zeros(40)), ReviewedClip(clip_id="x", is_good=True, margin=1.0, weight=40.0)]
    with pytest.raises(UserError, match="stands for 33% of all: judge more clips of its kind"):
        find_shift(lopsided, 0.05)


def test_the_proposal_says_what_would_change(calibration: Calibration) -> None:
    """Clips of another generator score higher, though reviewers accept them."""
    odd = some_measures(60, seed=3, scale=1.35, prefix="odd")
    bad = some_measures(20, seed=4, scale=30.0, prefix="bad")
    reviews = {m.clip_id: True for m in odd} | {m.clip_id: False for m in bad}
    states = {m.clip_id: judge(m, calibration).state for m in (*odd, *bad)}
    proposal = propose([*odd, *bad], reviews, calibration, 0.05)
    assert proposal.shift > 0
    assert proposal.calibration.name == "by hand, moved by 80 reviews"
    assert proposal.calibration.thresholds[-1].achieved_rate <= 0.05
    changed = {change.clip_id: change for change in proposal.changes}
    assert changed and {c.before for c in proposal.changes} == {"rejected"} and "bad-0" not in changed
    assert {c.review for c in proposal.changes} == {"good"}
    for m in (*odd, *bad):
        after = judge(m, proposal.calibration).state
        assert after == (changed[m.clip_id].after if m.clip_id in changed else states[m.clip_id])
    text = " ".join(describe_proposal(proposal))
    assert "broken clips accepted: 0 of 20 now, 0 then" in text and "good clips rejected" in text
    again = propose([*odd, *bad], reviews, proposal.calibration, 0.05)
    assert again.calibration.name == "by hand, moved by 80 reviews"


def test_reviews_of_one_kind_only_are_refused(calibration: Calibration) -> None:
    good, bad = some_measures(60, seed=1), some_measures(5, seed=4, scale=30.0, prefix="bad")
    with pytest.raises(UserError, match=r"judged none of the 5 clips that the gate rejected.*blind audit"):
        accepted = [m for m in good if judge(m, calibration).state == "accepted"]
        propose([*accepted, *bad], {m.clip_id: True for m in accepted}, calibration, 0.05)


def test_the_command_writes_only_when_it_is_told(
    tmp_path: Path, calibration: Calibration, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(tmp_path / "run")
    calibration.save(run.calibration)
    before = run.calibration.read_bytes()
    measured = some_measures(40, seed=3, scale=1.3, prefix="odd") + some_measures(3, seed=4, scale=30.0, prefix="bad")
    samples = [
        (
            m.clip_id,
            clip_members(small_clip(m.clip_id), {"edit": "x", "seed": 1, "model": "m", "measures": m.to_json()}),
        )
        for m in measured
    ]
    CommitLog(run.candidates).commit("u-0", write_tar(tmp_path / "scratch.tar", samples).path)
    command = ["calibrate", "--from-review", f"run_dir={run.root}"]
    assert cli.main(command) == 2
    assert "judged none" in capsys.readouterr().err
    for m in measured:
        verdict = "reject" if m.clip_id.startswith("bad") else "accept"
        made = ReviewDecision(clip=m.clip_id, reviewer="a", verdict=verdict, time="2026-01-31")  # type: ignore[arg-type]
        append_decision(run.decisions, made)
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "What would change" in printed and "Nothing was changed; --apply" in printed
    assert run.calibration.read_bytes() == before
    assert cli.main([*command, "--apply"]) == 0
    assert (run.root / "calibration-before-review.json").read_bytes() == before
    assert Calibration.load(run.calibration).name == "by hand, moved by 43 reviews"
    run.decisions.unlink()
    assert cli.main(["gate", f"run_dir={run.root}"]) == 0
    rows = read_verdicts(run.verdicts)
    assert sum(row["state"] == "rejected" for row in rows if row["clip_id"].startswith("odd")) <= 2
    assert json.loads(run.calibration.read_text())["thresholds"][0]["num_clips"] == 40
    assert cli.main(["calibrate", "--apply", f"run_dir={run.root}"]) == 2
    assert "--apply belongs to --from-review" in capsys.readouterr().err
