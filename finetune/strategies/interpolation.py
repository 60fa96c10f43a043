"""Interpolation between the weights of the base and of the fine-tuned model, and the search for the best point.

It needs no training and no data, so it is the baseline for replay (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903).
"""

import copy
from collections.abc import Callable, Iterable

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.model import WorldModel

# From 0, the base, to 1, the tuned model.
ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def interpolate_weights(base: WorldModel, tuned: WorldModel, alpha: float) -> WorldModel:
    """A new model with the weights (1 - ``alpha``) ``base`` + ``alpha`` ``tuned``, exact at both ends.

    Raises UserError if the models differ in size, or if one has an adapter that is not merged.
    """
    base_state, tuned_state = base.state_dict(), tuned.state_dict()
    base_shapes, tuned_shapes = (
        {name: value.shape for name, value in state.items()} for state in (base_state, tuned_state)
    )
    if base_shapes != tuned_shapes:
        different = sorted(
            name for name in base_shapes.keys() | tuned_shapes.keys() if base_shapes.get(name) != tuned_shapes.get(name)
        )
        raise UserError(
            f"models of different sizes cannot be interpolated: {different[0]} and {len(different) - 1} more differ"
        )
    interpolated = copy.deepcopy(tuned)
    # Not torch.lerp, which is inexact at 1.
    interpolated.load_state_dict(
        {name: (1 - alpha) * base_state[name] + alpha * tuned_state[name] for name in base_state}
    )
    return interpolated


def find_best_alpha(alphas: Iterable[float], score: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """The first alpha with the highest score, and all scores; each alpha is scored once.

    For example ``find_best_alpha(ALPHAS, lambda alpha: quality(interpolate_weights(base, tuned, alpha)))``.
    """
    scores = {alpha: score(alpha) for alpha in alphas}
    if not scores:
        raise UserError("there are no alphas to choose from")
    return max(scores, key=lambda alpha: scores[alpha]), scores
