"""What is said of the runs: changes clip by clip, shares that are given back, and intervals that hold."""

import numpy as np
import pytest

from driveforge.datasets.domains import OTHER_DOMAINS
from driveforge.finetune.evaluation.results import Evaluation, EvaluationValue
from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.forgetting.report import format_markdown
from driveforge.pipelines.studies.forgetting.results import (
    advantage,
    change_from_base,
    make_key_metrics,
    mean_value,
    retained_share,
)
from driveforge.pipelines.studies.forgetting.runs import RunResult
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.variants import BASE, HIGH_LR_VARIANTS, NAIVE, STILL, VARIANTS, plan_runs
from driveforge.pipelines.studies.forgetting.workspace import DRIVING

SEEDS, CLIPS = 3, 12
BY = make_key_metrics(OTHER_DOMAINS, has_objects=True)


def run_result(variant: str, seed: int, psnr: float, error: float) -> RunResult:
    """Clips that differ much between each other, and by little noise between runs."""
    rng = np.random.default_rng((seed, sum(variant.encode())))
    values = []
    for domain in (DRIVING, *OTHER_DOMAINS):
        # The camera passes what stands in two of the domains; in the others things move by themselves.
        measure = "moving_objects/ade" if domain in ("falling", "walkers", DRIVING) else "static_objects/ade"
        for clip in range(CLIPS):
            numbers = {"next_frame/psnr": psnr + clip, "next_frame/ssim": 0.5, measure: error + 2 * clip}
            numbers[measure.replace("ade", "permanence")] = 0.9
            loss = 30.0 - psnr if domain == DRIVING else error
            numbers |= {"loss/continuation/0.75-1/all": loss, "loss/continuation/0.75-1/moving": loss}
            for name, value in numbers.items():
                noisy = value + float(rng.normal(0, 0.05))
                values.append(EvaluationValue(clip_id=f"{domain}-{clip}", domain=domain, measure=name, value=noisy))
            other = ("static_objects" if measure.startswith("moving") else "moving_objects") + "/ade"
            values.append(
                EvaluationValue(
                    clip_id=f"{domain}-{clip}", domain=domain, measure=other, value=None, reason="no object"
                )
            )
    looks = 30.0 - psnr + float(rng.normal(0, 0.01))
    values.append(EvaluationValue(clip_id="", domain=DRIVING, measure="frechet/appearance", value=looks))
    evaluation = Evaluation(protocol="made up", values=tuple(values))
    return RunResult(variant=variant, seed=seed, evaluation=evaluation, replay_share=0.25, seconds=1.0, notes={})


@pytest.fixture(scope="module")
def run_results() -> list[RunResult]:
    made = [run_result(STILL, 0, 19.0, 9.0), *(run_result(BASE, seed, 20.0, 10.0) for seed in range(SEEDS))]
    made += [run_result(NAIVE, seed, 22.0, 14.0) for seed in range(SEEDS)]
    for variant in (*VARIANTS[1:], *HIGH_LR_VARIANTS):
        made += [run_result(variant.name, seed, 21.9, 11.0) for seed in range(2)]
    return made


def test_changes_are_paired_and_better_is_above_zero(run_results: list[RunResult]) -> None:
    seen, moved = change_from_base(run_results, NAIVE, BY.visual), change_from_base(run_results, NAIVE, BY.dynamics)
    assert seen.mean == pytest.approx(2.0, abs=0.05) and seen.low > 1.9, "clips differ by ten, and pairs do not"
    assert moved.mean == pytest.approx(-4.0, abs=0.05) and moved.high < -3.9
    assert seen.is_certain and moved.is_certain
    assert mean_value(run_results, BASE, BY.dynamics) == pytest.approx(10 + CLIPS - 1, abs=0.05)


def test_what_a_remedy_keeps_is_a_share_of_what_naive_fine_tuning_does(run_results: list[RunResult]) -> None:
    lost, gained = (retained_share(run_results, "replay 25%", NAIVE, metric) for metric in (BY.dynamics, BY.visual))
    assert lost.mean == pytest.approx(0.25, abs=0.02) and lost.low < lost.mean < lost.high
    assert gained.mean == pytest.approx(0.95, abs=0.02)


def test_two_ways_are_compared_over_the_runs_that_both_have(run_results: list[RunResult]) -> None:
    ahead = advantage(run_results, "replay 25%", NAIVE, BY.dynamics)
    assert ahead.mean == pytest.approx(3.0, abs=0.05) and ahead.low > 2.9
    behind = advantage(run_results, NAIVE, "replay 25%", BY.dynamics)
    assert behind.mean == pytest.approx(-ahead.mean)


def test_a_change_that_is_not_there_is_not_certain() -> None:
    same = [run_result(name, seed, 20.0, 10.0) for name in (BASE, NAIVE) for seed in range(SEEDS)]
    assert not change_from_base(same, NAIVE, BY.dynamics).is_certain


def test_the_page_states_the_phenomenon_and_every_way(run_results: list[RunResult]) -> None:
    page = format_markdown(load_settings(ForgettingStudy), run_results, BY, "picture.png")
    assert "looks: improved; driving, loss at high noise: improved; other domains, object error, px: got worse" in page
    for variant in VARIANTS[1:]:
        assert f"| {variant.name} | 2 | 25.0% | 75%" in page, variant.name
    assert "nan" not in page and "| replay 25% against interpolate | 25.0% against 25.0% |" in page


def test_a_study_of_the_key_ways_alone_has_a_page_too(run_results: list[RunResult]) -> None:
    key = {STILL, BASE, *(variant.name for variant in VARIANTS if variant.is_primary)}
    page = format_markdown(
        load_settings(ForgettingStudy), [o for o in run_results if o.variant in key], BY, "picture.png"
    )
    assert "| adaptive |" in page and "| ewc |" not in page and "3 x the rate" not in page


def test_a_page_on_footage_says_how_it_is_made_again(run_results: list[RunResult]) -> None:
    footage = ["driving_footage=[/data/road/a.mp4]", "other_footage=[/data/walk/b.mp4]"]
    few = {STILL, BASE, NAIVE, "replay 25%", "adaptive", "interpolate"}
    page = format_markdown(
        load_settings(ForgettingStudy, footage), [o for o in run_results if o.variant in few], BY, "picture.png"
    )
    assert "real driving (road)" in " ".join(page.split())
    assert "    driving_footage=[road/a.mp4] \\\n    other_footage=[walk/b.mp4] \\\n" in page


def test_key_ways_are_run_with_every_seed_and_no_two_runs_share_a_name() -> None:
    study = load_settings(ForgettingStudy, ["num_seeds=5", "num_secondary_seeds=3"])
    runs = list(plan_runs(study))
    assert len({run.name for run in runs}) == len(runs)
    counts = {variant.name: sum(run.variant == variant for run in runs) for variant in VARIANTS}
    assert counts["replay 25%"] == counts["adaptive"] == counts["interpolate"] == counts["naive"] == 5
    assert counts["ewc"] == counts["replay 5%"] == 3
