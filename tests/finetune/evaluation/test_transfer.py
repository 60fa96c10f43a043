import numpy as np
import pytest

from driveforge.finetune.evaluation.history import compute_scores, compute_transfer
from driveforge.finetune.evaluation.transfer import backward_transfer, forgetting
from tests.finetune.evaluation.synthetic_evaluations import evaluation

# Three models (rows) and three tasks (columns); model n has learned task n.
SCORES = np.array([[0.9, 0.1, 0.2], [0.6, 0.8, 0.3], [0.5, 0.9, 0.7]])


def test_backward_transfer_is_relative_to_when_a_task_was_learned() -> None:
    assert backward_transfer(SCORES, [0, 1, 2]) == pytest.approx(((0.5 - 0.9) + (0.9 - 0.8)) / 2)


def test_forgetting_is_relative_to_the_best_earlier_score() -> None:
    assert forgetting(SCORES, [0, 1, 2]) == pytest.approx(((0.9 - 0.5) + (0.8 - 0.9)) / 2)
    recovered = np.array([[0.5], [0.9], [0.6]])
    assert forgetting(recovered, [0]) == pytest.approx(0.3)
    assert backward_transfer(recovered, [0]) == pytest.approx(0.1)


@pytest.mark.parametrize("learned_at", [[0], [0, 1, 3], [2, 2, 2]])
def test_without_earlier_domains_there_is_an_error(learned_at: list[int]) -> None:
    with pytest.raises(ValueError, match="learned_at"):
        forgetting(SCORES, learned_at)


def test_a_history_is_scored_on_the_clips_that_all_models_have() -> None:
    history = [
        evaluation({("orbit", "moving_objects/ade"): [1.0, 3.0], ("walkers", "moving_objects/ade"): [5.0]}),
        evaluation({("orbit", "moving_objects/ade"): [2.0, None], ("walkers", "moving_objects/ade"): [4.0]}),
        evaluation({("orbit", "moving_objects/ade"): [4.0, 9.0], ("walkers", "moving_objects/ade"): [6.0]}),
    ]
    scores, domains = compute_scores(history, "moving_objects/ade", {"orbit", "walkers", "falling"})
    assert domains == ["orbit", "walkers"]
    np.testing.assert_array_equal(scores, [[-1, -5], [-2, -4], [-4, -6]])
    assert compute_transfer(history, "moving_objects/ade", {"orbit", "walkers"}) == {
        "backward_transfer": -2.0,
        "forgetting": 2.5,
    }


@pytest.mark.parametrize("domains", [{"falling"}, set()])
def test_a_history_without_a_common_clip_has_no_transfer(domains: set[str]) -> None:
    history = [evaluation({("orbit", "moving_objects/ade"): [1.0]})] * 2
    assert compute_transfer(history, "moving_objects/ade", domains) == {}
