"""The strategies by name. A new one needs its module, an entry here, and its name in ``names.py``."""

from driveforge.datasets.errors import UserError
from driveforge.finetune.strategies.baselines import Interpolate, Joint, Naive, Replay
from driveforge.finetune.strategies.der import DarkReplay
from driveforge.finetune.strategies.distillation import Distill
from driveforge.finetune.strategies.regularization import L2SP, Ewc, EwcRank1
from driveforge.finetune.strategies.strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind for kind in (Naive, Replay, Distill, DarkReplay, L2SP, Ewc, EwcRank1, Joint, Interpolate)
}


def get_strategy(name: str) -> type[Strategy]:
    """The class of the strategy ``name``. Raises UserError if there is none."""
    if name not in STRATEGIES:
        raise UserError(f"there is no strategy {name!r}; there are {', '.join(STRATEGIES)}")
    return STRATEGIES[name]
