"""Between the base and what it became: mixing their weights, and finding how much of each is best.

Costs nothing to train and needs no data, so it is the baseline that replay has to beat (WiSE-FT, Wortsman et al. 2022,
arXiv 2109.01903).
"""

import copy
from collections.abc import Callable, Iterable

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.model import WorldModel

# From the base, 0, to the tuned model, 1.
POINTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def interpolated(base: WorldModel, tuned: WorldModel, alpha: float) -> WorldModel:
    """A new model with the weights (1 - ``alpha``) ``base`` + ``alpha`` ``tuned``, exact at both ends.

    A UserError where the two are not models of one kind: of other sizes, or one with an adapter that was not merged.
    """
    ours, theirs = base.state_dict(), tuned.state_dict()
    shapes, others = ({name: value.shape for name, value in state.items()} for state in (ours, theirs))
    if shapes != others:
        differing = sorted(name for name in shapes.keys() | others.keys() if shapes.get(name) != others.get(name))
        raise UserError(f"models of other sizes cannot be mixed: {differing[0]} and {len(differing) - 1} more differ")
    mixed = copy.deepcopy(tuned)
    # Not torch.lerp: it is inexact at 1.
    mixed.load_state_dict({name: (1 - alpha) * ours[name] + alpha * theirs[name] for name in ours})
    return mixed


def best_point(points: Iterable[float], score: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """The point of the highest score, the first of several, and the scores of all; each point is scored once.

    For example ``best_point(POINTS, lambda alpha: quality(interpolated(base, tuned, alpha)))``.
    """
    scores = {point: score(point) for point in points}
    if not scores:
        raise UserError("there are no points to choose from")
    return max(scores, key=lambda point: scores[point]), scores
