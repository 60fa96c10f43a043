from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from driveforge.datasets.video import decode_mp4
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tar_samples import scan_tar
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.generate.candidates import Candidate, SampleRef
from driveforge.pipelines.validate.gate import Decision
from driveforge.pipelines.validate.overrides import Override
from driveforge.pipelines.validate.review import count_metrics, measure_bars, write_review
from driveforge.validation.records import Measures, make_measure, make_unmeasurable
from driveforge.validation.verdict import Reason, Verdict, judge
from tests.defaults import sampler_settings
from tests.pipelines.generators import FakeGenerator
from tests.pipelines.scenes import driving_scene
from tests.validation.limits import limits_at

LIMITS = {"track_epipolar": 1.5, "pose_yaw": 2.0, "object_residual": 1.0}
CALIBRATION = limits_at("by hand", LIMITS, note="MADE BY HAND")


def _reason(code: str) -> Reason:
    return Reason(
        code=code, measure="pose_yaw", value=4.0, limit=2.0, frames=(3, 4), track="", text=f"{code} is <why>."
    )


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene = driving_scene("clip-0")
    clip = FakeGenerator().generate(scene, None, seed=1, settings=sampler_settings())
    path = tmp_path_factory.mktemp("candidates") / "unit.tar"
    write_tar(path, [("clip-0", clip_members(clip, {}))])
    return path


def _decision(
    tar: Path, number: int, state: str, codes: Sequence[str] = (), override: Override | None = None
) -> Decision:
    """A decision on the only clip of ``tar`` under another name."""
    values = (make_measure("pose_yaw", 4.0 if codes else 1.0), make_unmeasurable("object_residual", "no boxes in view"))
    candidate = Candidate(
        ref=SampleRef(unit="unit", tar=tar, key=f"clip-{number}", members=scan_tar(tar)["clip-0"]),
        metadata={"edit": "slow", "seed": 7, "model": "m"},
        measures=Measures(clip_id=f"clip-{number}", values=values),
    )
    reasons = tuple(map(_reason, codes))
    verdict = Verdict(
        clip_id=candidate.clip_id, state=state, reasons=reasons, calibration="simulated", score=1.25, limit=0.5
    )  # type: ignore[arg-type]
    return Decision(candidate=candidate, verdict=verdict, override=override)


def test_the_review_shows_rejected_clips_with_reasons_and_accepted_ones(tar: Path, tmp_path: Path) -> None:
    word = Override(clip_id="clip-3", state="accepted", reviewer="anna", reason="it is long")
    decisions = [
        _decision(tar, 0, "accepted"),
        _decision(tar, 1, "rejected", ["POSE_YAW", "TRACK_LOSS"]),
        _decision(tar, 2, "unmeasured", ["TRACK_LOSS"]),
        _decision(tar, 3, "rejected", ["POSE_YAW"], word),
    ]
    made = write_review(tmp_path / "review", decisions, CALIBRATION)
    render_page = made.gallery.read_text()
    assert render_page.count("<article") == 4 and render_page.count('<article class="accepted"') == 2
    assert "POSE_YAW is &lt;why&gt;." in render_page and "accepted by anna: it is long" in render_page
    assert render_page.count("score 1.25, limit 0.50") == 4
    assert "by hand. MADE BY HAND" in render_page and "4.8%" in render_page
    assert (
        "limit 2" in render_page and "not measurable: no boxes in view" in render_page and "edit: slow" in render_page
    )
    assert [clip.stem for clip in made.clips] == ["clip-1", "clip-2"]
    assert decode_mp4(made.clips[0])[0].shape[0] == 9
    rows = pyarrow.parquet.read_table(made.rejections).to_pylist()
    assert [row["clip_id"] for row in rows] == ["clip-1", "clip-2"]
    assert rows[0]["reasons"] == "POSE_YAW, TRACK_LOSS"
    assert rows[0]["in words"] == "POSE_YAW is <why>. TRACK_LOSS is <why>."


def test_an_older_review_is_replaced(tar: Path, tmp_path: Path) -> None:
    write_review(tmp_path / "review", [_decision(tar, 1, "rejected", ["POSE_YAW"])], CALIBRATION)
    (tmp_path / "review" / "clips" / "mine.mp4").write_bytes(b"a reviewer's own")
    (tmp_path / "review" / "notes.txt").write_text("a reviewer's own")
    made = write_review(tmp_path / "review", [_decision(tar, 2, "rejected", ["POSE_YAW"])], CALIBRATION)
    assert sorted(file.name for file in (tmp_path / "review").rglob("*.mp4")) == ["clip-2.mp4", "mine.mp4"]
    assert (tmp_path / "review" / "notes.txt").exists(), "only what a review drew is removed"
    assert "clip-1" not in made.gallery.read_text()


def test_a_large_run_gives_a_page_of_bounded_size_with_the_rare_reason(
    tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driveforge.pipelines.validate.review.MAX_REJECTED", 3)
    monkeypatch.setattr("driveforge.pipelines.validate.review.MAX_ACCEPTED", 2)
    decisions = [_decision(tar, n, "rejected", ["POSE_YAW"]) for n in range(6)]
    decisions += [_decision(tar, 6, "rejected", ["CHEIRALITY"])]
    decisions += [_decision(tar, n, "accepted") for n in range(7, 12)]
    made = write_review(tmp_path / "review", decisions, CALIBRATION)
    render_page = made.gallery.read_text()
    assert render_page.count('<article class="rejected"') == len(made.clips) == 3
    assert render_page.count('<article class="accepted"') == 2
    assert "CHEIRALITY is" in render_page
    assert "<dd>3 of 7</dd>" in render_page and "<dd>2 of 5</dd>" in render_page and "<dd>12</dd>" in render_page
    assert pyarrow.parquet.read_table(made.rejections).num_rows == 7


def test_counts_are_by_state_and_by_reason(tar: Path) -> None:
    decisions = [_decision(tar, 0, "accepted"), *(_decision(tar, n, "rejected", ["POSE_YAW"] * n) for n in (1, 2))]
    assert count_metrics(decisions) == {
        "generated": 3.0, "accepted": 1.0, "rejected": 2.0, "unmeasured": 0.0, "reason/POSE_YAW": 2.0,
    }  # fmt: skip


def test_bars_have_a_value_or_a_limit() -> None:
    values = (make_measure("pose_yaw", 1.0), make_unmeasurable("object_residual", "no boxes in view"))
    measures = Measures(clip_id="a", values=(*values, make_unmeasurable("time_cut", "too few frames")))
    shown = measure_bars(measures, LIMITS, judge(measures, limits_at("by hand", LIMITS)))
    assert [(bar.name, bar.value, bar.limit) for bar in shown] == [
        ("pose_yaw", 1.0, 2.0),
        ("object_residual", None, 1.0),
    ]
    wrong = replace(measures, values=(make_measure("pose_yaw", 3.0), *measures.values[1:]))
    assert [bar.is_reason for bar in shown] == [False, False]
    assert [bar.is_reason for bar in measure_bars(wrong, LIMITS, judge(wrong, limits_at("by hand", LIMITS)))] == [
        True,
        False,
    ]


@pytest.mark.parametrize("note", ["{", '["../../thesis.mp4"]', "[3]", "null"])
def test_an_invalid_record_of_an_older_review_removes_nothing(note: str, tar: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.mp4").write_bytes(b"years")
    (tmp_path / "review" / "clips").mkdir(parents=True)
    (tmp_path / "review" / ".drawn.json").write_text(note)
    write_review(tmp_path / "review", [_decision(tar, 1, "rejected", ["POSE_YAW"])], CALIBRATION)
    assert (tmp_path / "thesis.mp4").read_bytes() == b"years"
