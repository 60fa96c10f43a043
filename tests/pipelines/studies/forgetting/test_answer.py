"""The verdict on replay: by the bounds of an interval, and only where there is something to recover."""

import pytest

from driveforge.pipelines.studies.forgetting.answer import CANNOT_TELL, NO, YES, format_answer, judge, judge_both
from driveforge.pipelines.studies.forgetting.results import Estimate
from driveforge.pipelines.studies.forgetting.variants import NAIVE, VARIANTS
from tests.pipelines.studies.forgetting.test_results import METRICS, SEEDS, run_result


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.8, 1.2, YES), (0.1, 0.79, NO), (0.79, 1.0, CANNOT_TELL), (0.5, 0.8, CANNOT_TELL)]
)
def test_the_whole_interval_decides(low: float, high: float, verdict: str) -> None:
    assert judge(Estimate(mean=0.9, low=low, high=high), 0.8) == verdict


def test_both_conditions_are_needed_and_one_no_decides() -> None:
    assert judge_both(YES, YES) == YES
    assert judge_both(YES, NO) == judge_both(NO, CANNOT_TELL) == NO
    assert judge_both(YES, CANNOT_TELL) == CANNOT_TELL


def verdicts(naive_psnr: float, naive_error: float, psnr: float, error: float) -> list[str]:
    """The last three cells of the first row for replay 25 %, from a base of 20 dB and an error of 10."""
    made = [run_result("base", seed, 20.0, 10.0) for seed in range(SEEDS)]
    made += [run_result(NAIVE, seed, naive_psnr, naive_error) for seed in range(SEEDS)]
    made += [run_result("replay 25%", seed, psnr, error) for seed in range(SEEDS)]
    table = format_answer(made, (VARIANTS,), METRICS)
    row = next(line for line in table.splitlines() if line.startswith("| replay 25% |"))
    return [cell.strip() for cell in row.split("|")[-4:-1]]


def test_replay_is_judged_against_the_naive_fine_tune() -> None:
    assert verdicts(22.0, 14.0, 22.0, 10.2) == [YES, YES, YES]
    assert verdicts(22.0, 14.0, 22.0, 13.0) == [NO, YES, NO]
    assert verdicts(22.0, 14.0, 21.0, 10.2) == [YES, NO, NO]


def test_without_a_loss_or_a_gain_nothing_can_be_told() -> None:
    assert verdicts(22.0, 10.0, 22.0, 9.0)[0] == CANNOT_TELL
    assert verdicts(20.0, 14.0, 20.0, 10.2)[1:] == [CANNOT_TELL, CANNOT_TELL]


def test_a_share_with_a_single_run_gets_no_verdict() -> None:
    made = [run_result(name, seed, 20.0, 10.0) for name in ("base", NAIVE) for seed in range(SEEDS)]
    assert "| replay 25% |" not in format_answer([*made, run_result("replay 25%", 0, 20.0, 10.0)], (VARIANTS,), METRICS)
