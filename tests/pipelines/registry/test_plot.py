from pathlib import Path

import cv2
import numpy as np
import pytest

from driveforge.finetune.evaluation.history import CheckpointEvaluation
from driveforge.finetune.evaluation.promotion_rule import decide_promotion
from driveforge.finetune.evaluation.promotion_settings import PromotionRule
from driveforge.finetune.evaluation.results import Evaluation
from driveforge.pipelines.registry.plot import COLORS, plot_promotion
from tests.pipelines.promoting import LOOKS, MOTION, make_evaluation

RULE = PromotionRule(
    improve=LOOKS, dynamics=(MOTION,), driving_domains=("driving-*",), tolerance=0.05, confidence=0.95, min_clips=6
)


def picture(path: Path, *history: Evaluation) -> np.ndarray:
    """As it is drawn of the last model of a course against the first, (H, W, 3) RGB."""
    stages = [
        CheckpointEvaluation(step=100 * n, model=str(n), evaluation=evaluation) for n, evaluation in enumerate(history)
    ]
    plot_promotion(path, decide_promotion(history[-1], {"base": history[0]}, RULE), stages, RULE)
    return np.asarray(cv2.imread(str(path))[:, :, ::-1])


def pixels_of(image: np.ndarray, state: str) -> int:
    colour = [int(COLORS[state][k : k + 2], 16) for k in (1, 3, 5)]  # type: ignore[index]
    return int((np.abs(image.astype(int) - colour).max(-1) < 8).sum())


@pytest.mark.parametrize("num_probes", [2, 4])
def test_what_was_forgotten_is_drawn_in_red_and_its_course_too(tmp_path: Path, num_probes: int) -> None:
    shares = np.linspace(0, 1, num_probes)
    forgot = picture(tmp_path / "a.png", *(make_evaluation(share, {"orbit": 0.4 * share}) for share in shares))
    kept = picture(tmp_path / "b.png", *(make_evaluation(share) for share in shares))
    assert forgot.shape[1] > 1000 and forgot.shape[0] > 400
    # The line of what is allowed is red in both: what was forgotten adds its title, its bar and its course.
    assert pixels_of(forgot, "regressed") > 2 * pixels_of(kept, "regressed")
    assert pixels_of(kept, "retained") > pixels_of(forgot, "retained") > 0


def test_what_cannot_be_told_is_drawn_in_its_own_colour(tmp_path: Path) -> None:
    assert (
        pixels_of(picture(tmp_path / "a.png", make_evaluation(), make_evaluation(0.5, spread=0.3)), "inconclusive")
        > 200
    )


def test_a_domain_without_clips_in_common_is_drawn_in_words(tmp_path: Path) -> None:
    candidate = make_evaluation(0.5)
    fewer = Evaluation(protocol="p1", values=tuple(v for v in candidate.values if v.domain != "walkers"))
    # Small letters have few pixels of full colour, and how few depends on the machine's fonts.
    assert pixels_of(picture(tmp_path / "a.png", make_evaluation(), fewer), "inconclusive") > 0
    assert pixels_of(picture(tmp_path / "b.png", make_evaluation(), candidate), "inconclusive") == 0
