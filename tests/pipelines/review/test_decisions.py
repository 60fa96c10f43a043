"""The log of decisions: durable lines, what counts, and files that are damaged."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.review.decisions import (
    DecisionLog,
    ReviewDecision,
    append_decision,
    overrides_of,
    read_decision_log,
    read_review_overrides,
    without_unknown,
)
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.overrides import Override


def decision(
    clip: str = "clip-1", verdict: str = "accept", reviewer: str = "anna", note: str = "", blind: bool = False
) -> ReviewDecision:
    return ReviewDecision(
        clip=clip, reviewer=reviewer, verdict=verdict, note=note, time="2026-01-31T10:00:00.000Z", blind=blind
    )  # type: ignore[arg-type]


def test_decisions_are_added_as_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    assert read_decision_log(path) == DecisionLog()
    made = [decision(note="<b>café</b>\n"), decision("clip-2", "reject", blind=True)]
    for one in made:
        append_decision(path, one)
    assert read_decision_log(path) == DecisionLog(decisions=tuple(made))
    assert [json.loads(line)["clip"] for line in path.read_text().splitlines()] == ["clip-1", "clip-2"]


def test_the_last_decision_of_a_reviewer_counts_and_a_rejection_wins() -> None:
    made = [
        decision("a"), decision("a", "reject", note="blurred"), decision("a", "accept"),
        decision("b", "accept"), decision("b", "reject", "ben", "wheel is missing"),
        decision("c", "reject"), decision("c", "cleared"),
        decision("d", "unsure"), decision("d", "accept", "ben", "fine"), decision("e", "unsure"),
    ]  # fmt: skip
    assert overrides_of(made) == {
        "a": Override(clip_id="a", state="accepted", reviewer="anna", reason=""),
        "b": Override(clip_id="b", state="rejected", reviewer="ben", reason="wheel is missing"),
        "d": Override(clip_id="d", state="accepted", reviewer="ben", reason="fine"),
    }


def test_overrides_json_wins_over_decisions(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    append_decision(run.decisions, decision("a", "reject"))
    append_decision(run.decisions, decision("b", "reject"))
    run.overrides.write_text(json.dumps({"a": {"verdict": "accept", "reviewer": "carl", "reason": "agreed by phone"}}))
    assert {clip: (one.state, one.reviewer) for clip, one in read_review_overrides(run).items()} == {
        "a": ("accepted", "carl"), "b": ("rejected", "anna"),
    }  # fmt: skip


def test_decisions_on_clips_that_are_gone_are_counted_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(tmp_path)
    for clip in ("a", "b", "c"):
        append_decision(run.decisions, decision(clip))
    assert set(without_unknown(read_review_overrides(run), {"a"}, run)) == {"a"}
    assert "2 decisions are on clips that this run no longer has" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_last_line_is_reported_and_kept_aside(
    cut: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(tmp_path)
    append_decision(run.decisions, decision("a"))
    append_decision(run.decisions, decision("b"))
    whole = run.decisions.read_bytes()
    run.decisions.write_bytes(whole[:-cut])
    assert [one.clip for one in read_decision_log(run.decisions).decisions] == ["a"]
    assert read_decision_log(run.decisions).torn > 0
    assert set(read_review_overrides(run)) == {"a"}
    assert "decisions.jsonl: the last line is incomplete" in capsys.readouterr().err
    append_decision(run.decisions, decision("c"))
    assert [one.clip for one in read_decision_log(run.decisions).decisions] == ["a", "c"]
    assert read_decision_log(run.decisions).torn == 0
    torn = (tmp_path / "decisions.jsonl.torn").read_bytes()
    assert torn.rstrip(b"\n") == whole.splitlines(keepends=True)[1][:-cut].rstrip(b"\n")


@pytest.mark.parametrize(
    "line, problem",
    [
        ("{", "is not valid JSON"),
        ('{"clip": "a", "verdict": "accept", "time": "t"}', "reviewer is missing"),
        ('{"clip": "a", "reviewer": "b", "verdict": "maybe", "time": "t"}', "verdict must be"),
        ('{"clip": "../a", "reviewer": "b", "verdict": "accept", "time": "t"}', "clip must be a clip id"),
        ('{"clip": "a", "reviewer": " ", "verdict": "accept", "time": "t"}', "reviewer must be a name"),
        ('{"clip": "a", "reviewer": "b\\n", "verdict": "accept", "time": "t"}', "reviewer must be a name"),
        ('{"clip": "a", "reviewer": "b", "verdict": "accept", "time": "t", "x": 1}', "x is not a known key"),
    ],
)
def test_a_wrong_line_is_named(line: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    append_decision(path, decision())
    path.write_text(path.read_text() + line + "\n" + path.read_text())
    with pytest.raises(UserError, match=r"decisions\.jsonl: line 2: .*correct or remove this line") as error:
        read_decision_log(path)
    assert problem in str(error.value)


def test_concurrent_reviewers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"

    def write(name: str) -> None:
        for number in range(20):
            append_decision(path, decision(f"clip-{number}", reviewer=name))

    threads = [threading.Thread(target=write, args=(name,)) for name in ("anna", "ben", "carl")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = read_decision_log(path).decisions
    assert len(made) == 60 and len({(one.clip, one.reviewer) for one in made}) == 60


def test_confirmed_decisions_survive_a_kill(tmp_path: Path) -> None:
    """A writer that prints after each decision is killed: what it printed is in the file."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from driveforge.pipelines.review.decisions import ReviewDecision, append_decision\n"
        "for n in range(100000):\n"
        "    one = ReviewDecision(clip=f'clip-{n}', reviewer='a', verdict='accept', time='t')\n"
        "    append_decision(Path(sys.argv[1]), one)\n"
        "    print(n, flush=True)\n"
    )
    path = tmp_path / "decisions.jsonl"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as writer:
        assert writer.stdout is not None
        confirmed = [writer.stdout.readline() for _ in range(30)]
        writer.send_signal(signal.SIGKILL)
        confirmed += writer.stdout.readlines()
    kept = {one.clip for one in read_decision_log(path).decisions}
    assert {f"clip-{line.strip()}" for line in confirmed} <= kept
