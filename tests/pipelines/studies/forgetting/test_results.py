"""Statistics and page of the study: paired changes, recovered shares, and intervals."""

import numpy as np
import pytest

from driveforge.datasets.domains import OTHER_DOMAINS
from driveforge.finetune.evaluation.results import Evaluation, EvaluationValue
from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.forgetting.report import format_markdown
from driveforge.pipelines.studies.forgetting.results import (
    advantage,
    base_advantage,
    change_from_base,
    lost_share,
    make_key_metrics,
    mean_value,
    retained_share,
)
from driveforge.pipelines.studies.forgetting.runs import RunResult
from driveforge.pipelines.studies.forgetting.settings import ForgettingStudy
from driveforge.pipelines.studies.forgetting.variants import BASE, HIGH_LR_VARIANTS, NAIVE, STILL, VARIANTS, plan_runs
from driveforge.pipelines.studies.forgetting.workspace import DRIVING, SHIPPED_BASE_KNOWS

SEEDS, CLIPS = 3, 12
METRICS = make_key_metrics(OTHER_DOMAINS, has_objects=True)


def run_result(variant: str, seed: int, psnr: float, error: float) -> RunResult:
    """Values that differ much between clips and little between runs."""
    rng = np.random.default_rng((seed, sum(variant.encode())))
    values = []
    for domain in (DRIVING, *OTHER_DOMAINS):
        # Two domains have static objects only, the others have moving objects.
        measure = "moving_objects/ade" if domain in ("falling", "walkers", DRIVING) else "static_objects/ade"
        for clip in range(CLIPS):
            numbers = {"next_frame/psnr": psnr + clip, "next_frame/ssim": 0.5, measure: error + 2 * clip}
            numbers |= {measure.replace("ade", "permanence"): 0.9, "points/static": error + 2 * clip}
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
    appearance = 30.0 - psnr + float(rng.normal(0, 0.01))
    values.append(EvaluationValue(clip_id="", domain=DRIVING, measure="frechet/appearance", value=appearance))
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
    visual, dynamics = (
        change_from_base(run_results, NAIVE, METRICS.visual),
        change_from_base(run_results, NAIVE, METRICS.dynamics),
    )
    assert visual.mean == pytest.approx(2.0, abs=0.05) and visual.low > 1.9, "paired differences have little variance"
    assert dynamics.mean == pytest.approx(-4.0, abs=0.05) and dynamics.high < -3.9
    assert visual.is_significant and dynamics.is_significant
    assert mean_value(run_results, BASE, METRICS.dynamics) == pytest.approx(10 + CLIPS - 1, abs=0.05)


def test_retained_shares_are_relative_to_naive_fine_tuning(run_results: list[RunResult]) -> None:
    lost, gained = (
        retained_share(run_results, "replay 25%", NAIVE, metric) for metric in (METRICS.dynamics, METRICS.visual)
    )
    assert lost.mean == pytest.approx(0.25, abs=0.02) and lost.low < lost.mean < lost.high
    assert gained.mean == pytest.approx(0.95, abs=0.02)


def test_the_advantage_of_the_base_is_over_the_still_frame_and_a_fine_tune_loses_a_share_of_it() -> None:
    made = [run_result(STILL, 0, 18.0, 12.0)]
    made += [run_result(BASE, seed, 20.0, 10.0) for seed in range(SEEDS)]
    made += [run_result(NAIVE, seed, 22.0, 11.0) for seed in range(SEEDS)]
    had, lost = base_advantage(made, METRICS.dynamics), lost_share(made, NAIVE, METRICS.dynamics)
    assert had.mean == pytest.approx(2.0, abs=0.05) and had.low > 1.9
    assert lost.mean == pytest.approx(0.5, abs=0.03) and lost.low > 0.4


def test_dynamics_can_be_judged_in_some_domains() -> None:
    some = make_key_metrics(OTHER_DOMAINS, has_objects=True, judged=SHIPPED_BASE_KNOWS)
    assert some.dynamics.label == "orbit and walkers, object error, px" and some.dynamics.domains == SHIPPED_BASE_KNOWS
    assert METRICS.dynamics in some.all_metrics and METRICS.dynamics.domains == OTHER_DOMAINS


def test_two_variants_are_compared_over_their_common_seeds(run_results: list[RunResult]) -> None:
    ahead = advantage(run_results, "replay 25%", NAIVE, METRICS.dynamics)
    assert ahead.mean == pytest.approx(3.0, abs=0.05) and ahead.low > 2.9
    behind = advantage(run_results, NAIVE, "replay 25%", METRICS.dynamics)
    assert behind.mean == pytest.approx(-ahead.mean)


def test_no_change_is_not_significant() -> None:
    same = [run_result(name, seed, 20.0, 10.0) for name in (BASE, NAIVE) for seed in range(SEEDS)]
    assert not change_from_base(same, NAIVE, METRICS.dynamics).is_significant


def test_the_page_states_the_forgetting_and_every_variant(run_results: list[RunResult]) -> None:
    page = format_markdown(load_settings(ForgettingStudy), run_results, METRICS, "picture.png")
    assert (
        "appearance: improved; driving, loss at high noise: improved; other domains, object error, px: worsened" in page
    )
    # Of the naive loss, 14 - 10, the replay runs recover 75 %.
    assert "object error, px | driving, Frechet distance of appearance | 75% (" in page
    for variant in VARIANTS[1:]:
        assert f"| {variant.name} | 2 | 25.0% | 75%" in page, variant.name
    assert "nan" not in page and "| replay 25% vs. interpolate | 25.0% vs. 25.0% |" in page


def test_a_study_of_the_primary_variants_has_a_page(run_results: list[RunResult]) -> None:
    key = {STILL, BASE, *(variant.name for variant in VARIANTS if variant.is_primary)}
    page = format_markdown(
        load_settings(ForgettingStudy), [o for o in run_results if o.variant in key], METRICS, "picture.png"
    )
    assert "| adaptive |" in page and "| ewc |" not in page and "3 x LR" not in page


def test_a_page_on_footage_shows_its_command(run_results: list[RunResult]) -> None:
    footage = ["driving_footage=[/data/road/a.mp4]", "other_footage=[/data/walk/b.mp4]"]
    few = {STILL, BASE, NAIVE, "replay 25%", "adaptive", "interpolate"}
    page = format_markdown(
        load_settings(ForgettingStudy, footage), [o for o in run_results if o.variant in few], METRICS, "picture.png"
    )
    assert "real footage (road)" in " ".join(page.split())
    assert "    driving_footage=[road/a.mp4] \\\n    other_footage=[walk/b.mp4]\n```" in page


def test_a_page_on_the_shipped_base_shows_its_command_and_needs_no_other_strategies(
    run_results: list[RunResult],
) -> None:
    study = load_settings(ForgettingStudy, ["base=shipped", "num_secondary_seeds=0"])
    few = {STILL, BASE, NAIVE, "replay 10%", "replay 25%"}
    page = format_markdown(study, [found for found in run_results if found.variant in few], METRICS, "picture.png")
    assert page.startswith("# Study: forgetting in fine-tuning, of the shipped base\n")
    assert "forgetting \\\n    base=shipped \\\n    num_secondary_seeds=0\n```" in page
    assert "infrared" in page and "adaptive vs." not in page and "nan" not in page


def test_the_shipped_base_has_more_runs_of_the_small_shares() -> None:
    study = load_settings(ForgettingStudy, ["base=shipped", "num_seeds=3", "num_secondary_seeds=1"])
    names = [run.name for run in plan_runs(study)]
    assert len(set(names)) == len(names)
    assert {name for name in names if name.endswith("-2")} == {"naive-2", "replay-10pc-2", "replay-25pc-2"}
    assert {"replay-50pc-0", "adaptive-0", "interpolate-0", "l2sp-0"} < set(names)


def test_primary_variants_run_with_every_seed_under_unique_names() -> None:
    study = load_settings(ForgettingStudy, ["num_seeds=5", "num_secondary_seeds=3"])
    runs = list(plan_runs(study))
    assert len({run.name for run in runs}) == len(runs)
    counts = {variant.name: sum(run.variant == variant for run in runs) for variant in VARIANTS}
    assert counts["replay 25%"] == counts["adaptive"] == counts["interpolate"] == counts["naive"] == 5
    assert counts["ewc"] == counts["replay 5%"] == 3
