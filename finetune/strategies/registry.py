"""The strategies by the name that ``finetune.strategy`` gives them."""

from driveforge.datasets.errors import UserError
from driveforge.finetune.strategies.baselines import Interpolate, Joint, Naive, Replay
from driveforge.finetune.strategies.der import DarkReplay
from driveforge.finetune.strategies.distillation import Distill
from driveforge.finetune.strategies.regularization import Ewc, EwcRank1, L2Start
from driveforge.finetune.strategies.strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind for kind in (Naive, Replay, Distill, DarkReplay, L2Start, Ewc, EwcRank1, Joint, Interpolate)
}


def strategy_of(name: str) -> type[Strategy]:
    """A UserError where there is none of that name."""
    if name not in STRATEGIES:
        raise UserError(f"there is no strategy {name!r}; there are {', '.join(STRATEGIES)}")
    return STRATEGIES[name]
