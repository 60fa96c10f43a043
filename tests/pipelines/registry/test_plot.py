"""The promotion picture: colors of the checks, read back from the pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from driveforge.finetune.evaluation.history import CheckpointEvaluation
from driveforge.finetune.evaluation.promotion_rule import State, decide_promotion
from driveforge.finetune.evaluation.promotion_settings import PromotionRule
from driveforge.finetune.evaluation.results import Evaluation
from driveforge.pipelines.registry.plot import COLORS, plot_promotion
from tests.pipelines.promotion_runs import APPEARANCE, MOTION, make_evaluation

RULE = PromotionRule(
    improve=APPEARANCE, dynamics=(MOTION,), driving_domains=("driving-*",), tolerance=0.05, confidence=0.95, min_clips=6
)


def picture(path: Path, *history: Evaluation) -> NDArray[np.uint8]:
    """The picture ``(H, W, 3)`` RGB of the last model of ``history`` against the first."""
    checkpoints = [
        CheckpointEvaluation(step=100 * n, model=str(n), evaluation=evaluation) for n, evaluation in enumerate(history)
    ]
    plot_promotion(path, decide_promotion(history[-1], {"base": history[0]}, RULE), checkpoints, RULE)
    return np.asarray(cv2.imread(str(path))[:, :, ::-1])


def count_pixels(image: NDArray[np.uint8], state: State) -> int:
    color = [int(COLORS[state][k : k + 2], 16) for k in (1, 3, 5)]
    return int((np.abs(image.astype(int) - color).max(-1) < 8).sum())


@pytest.mark.parametrize("num_checkpoints", [2, 4])
def test_a_regression_and_its_history_are_drawn_in_red(tmp_path: Path, num_checkpoints: int) -> None:
    shares = np.linspace(0, 1, num_checkpoints)
    forgot = picture(tmp_path / "a.png", *(make_evaluation(share, {"orbit": 0.4 * share}) for share in shares))
    kept = picture(tmp_path / "b.png", *(make_evaluation(share) for share in shares))
    assert forgot.shape[1] > 1000 and forgot.shape[0] > 400
    # The line of the tolerance is red in both; a regression adds its title, its bar and its history.
    assert count_pixels(forgot, "regressed") > 2 * count_pixels(kept, "regressed")
    assert count_pixels(kept, "retained") > count_pixels(forgot, "retained") > 0


def test_an_inconclusive_check_has_its_own_color(tmp_path: Path) -> None:
    assert (
        count_pixels(picture(tmp_path / "a.png", make_evaluation(), make_evaluation(0.5, spread=0.3)), "inconclusive")
        > 200
    )


def test_a_domain_without_clips_in_common_is_written_in_words(tmp_path: Path) -> None:
    candidate = make_evaluation(0.5)
    fewer = Evaluation(protocol="p1", values=tuple(v for v in candidate.values if v.domain != "walkers"))
    # Small letters have few pixels of the full color, and how few depends on the fonts of the machine.
    assert count_pixels(picture(tmp_path / "a.png", make_evaluation(), fewer), "inconclusive") > 0
    assert count_pixels(picture(tmp_path / "b.png", make_evaluation(), candidate), "inconclusive") == 0
