"""The page of the downstream study: its answers follow from the intervals."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.downstream.answers import answers
from driveforge.pipelines.studies.downstream.arms import ACCEPTED, ALL_GENERATED, MORE_REAL, REJECTED, list_arms
from driveforge.pipelines.studies.downstream.average_precision import CLASSES, RANGES_M
from driveforge.pipelines.studies.downstream.comparisons import Comparison, GeneratorSummary
from driveforge.pipelines.studies.downstream.drives import Drive
from driveforge.pipelines.studies.downstream.generators import SIMULATOR, Checkpoint, GeneratedClip
from driveforge.pipelines.studies.downstream.report import write_report
from driveforge.pipelines.studies.downstream.runs import RunResult
from driveforge.pipelines.studies.downstream.settings import DownstreamStudy

SETTINGS = replace(load_settings(DownstreamStudy), num_real=2, num_generated=4, num_seeds=3, sweep=(0.1,))
METRICS = ("objects", "lanes", *CLASSES, *(f"{name}, {low}-{high} m" for name in CLASSES for low, high in RANGES_M))
HELPING = {MORE_REAL: 0.2, SIMULATOR: 0.15, ACCEPTED: 0.1, ALL_GENERATED: 0.05, REJECTED: -0.05}


def comparison(gains: Mapping[str, float], noise: float = 0.001) -> Comparison:
    """Arms of two generators, the second of which is worse by 0.12, with these gains over real only."""
    pool = [
        GeneratedClip(path=Path(f"{n}.tar"), drive=Drive(seed=0, number=n), edit="slower", state=state)
        for n, state in enumerate(("accepted", "rejected", "accepted", "rejected", "accepted"))
    ]
    models = [(Checkpoint(name=name, folder=Path(name), digest=name), pool) for name in ("good base", "bad base")]
    arms = list_arms(SETTINGS, pool, pool, models)
    rng = np.random.default_rng(0)
    results = []
    for arm in arms:
        worse = 0.12 if arm.generator == "bad base" else 0.0
        for seed in range(SETTINGS.num_seeds):
            level = 0.4 + gains.get(arm.what, 0.0) - worse
            metrics = {name: level + rng.normal(0, noise, 21) for name in METRICS}
            results.append(RunResult(arm=arm, seed=seed, metrics=metrics))
    return Comparison(arms=arms, results=results, share=SETTINGS.share)


def summary(name: str, psnr: float) -> GeneratorSummary:
    edits = {"slower": (2, 3), "dusk": (1, 2)}
    return GeneratorSummary(name=name, by_edit=edits, psnr=psnr, psnr_accepted=psnr + 1, psnr_rejected=float("nan"))


SUMMARIES = (summary("good base", 25.0), summary("bad base", 20.0))


def text(compared: Comparison) -> str:
    return "\n".join(answers(compared, SUMMARIES))


def test_the_answers_name_what_helps_and_from_which_quality_on() -> None:
    found = text(comparison(HELPING))
    assert "better in 9, worse in 0, and cannot be told in 0 of 9 comparisons" in found
    assert "With 5 more real clips, against real only: vehicle +0.2" in found
    assert "For vehicle, accepted clips help from the quality of the good base on (2 of 2 from below): 25.0 dB" in found
    against = [line for line in found.splitlines() if line.startswith("Accepted clips of the good base instead of all")]
    assert [line.count("better") for line in against] == [3, 3]
    (rejected,) = (line for line in found.splitlines() if "bad base instead of rejected" in line)
    assert rejected.count("better") == 3 and rejected.count("worse") == 3
    (bad,) = (line for line in found.splitlines() if "accepted clips of the bad base, against" in line)
    assert bad.count("worse") == 3


def test_the_answers_do_not_claim_what_cannot_be_told() -> None:
    found = text(comparison(HELPING, noise=0.5))
    first, others = found.split("\n", 1)
    assert "better in 0, worse in 0, and cannot be told in 9 of 9 comparisons" in first
    assert "better" not in others and "worse" not in others and others.count("cannot tell") >= 10
    assert others.count("the study is too small for this metric") == 3


def test_the_simulator_and_more_real_clips_tell_pictures_from_edits() -> None:
    found = text(comparison({**HELPING, ACCEPTED: 0.0}, noise=0.002))
    assert "the limit is the quality of the pictures, not the edits" in found
    found = text(comparison({**HELPING, ACCEPTED: -0.1, SIMULATOR: -0.1}))
    assert "hurt; a perfect generator hurts too, so the edits are the limit, not the pictures" in found
    found = text(comparison({**HELPING, ACCEPTED: 0.0, SIMULATOR: 0.0}, noise=0.01))
    assert "and more than a perfect generator: what lacks is the variety of other drives" in found
    found = text(comparison({**HELPING, ACCEPTED: 0.0, SIMULATOR: 0.0, MORE_REAL: 0.0}, noise=0.01))
    assert found.count("the study is too small for this metric") == 3


def test_the_page_has_every_arm_and_the_table_every_run(tmp_path: Path) -> None:
    compared = comparison(HELPING)
    write_report(tmp_path / "page.md", SETTINGS, compared, SUMMARIES)
    page = (tmp_path / "page.md").read_text()
    assert "![Gains over training on real clips only](page.png)" in page and "3 of 5" not in page
    assert "| good base | 5 | 3 (60%) | 25.0 | 26.0 |  |" in page and "| good base | 2 of 3 | 1 of 2 |" in page
    assert (
        "\npython -m driveforge.pipelines.studies.downstream num_real=2 num_generated=4 sweep=[0.1] num_seeds=3\n"
        in page
    )
    for arm in compared.arms:
        assert f"| {arm.title} |" in page
    assert (tmp_path / "page.png").stat().st_size > 10_000
    rows = pq.read_table(tmp_path / "page.parquet").to_pylist()
    assert len(rows) == len(compared.results) * len(METRICS)
    assert {row["share"] for row in rows} == {0.0, 0.1, 0.5}
    before = (tmp_path / "page.md").read_bytes(), (tmp_path / "page.parquet").read_bytes()
    write_report(tmp_path / "page.md", SETTINGS, compared, SUMMARIES)
    assert before == ((tmp_path / "page.md").read_bytes(), (tmp_path / "page.parquet").read_bytes())
