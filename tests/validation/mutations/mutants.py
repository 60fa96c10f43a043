"""Every mutation of a clip once, then pairs of them, sampled with a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from tests.validation.mutations.boxes import BOXES
from tests.validation.mutations.command import CALIBRATION, CAMERAS, POSES, TIMES
from tests.validation.mutations.pixels import GARBAGE, LENGTHS, SIZES, Make

EVERY: dict[str, Make] = GARBAGE | SIZES | LENGTHS | POSES | CALIBRATION | TIMES | BOXES | CAMERAS


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A mutated ``clip``, or the ``refusal`` of its records; ``is_garbage``: its pixels do not show the command."""

    name: str
    clip: Clip | None
    refusal: str
    is_garbage: bool


def mutants(good: Clip, seed: int) -> Iterator[Mutant]:
    """Infinitely many mutants; mutant ``n`` is a function of ``(seed, n)`` only."""
    singles = [[name] for name in EVERY]
    for number in count():
        rng = np.random.default_rng((seed, number))
        names = (
            singles[number] if number < len(singles) else [str(n) for n in rng.choice(list(EVERY), 2, replace=False)]
        )
        yield _mutant(good, names, rng)


def _mutant(good: Clip, names: list[str], rng: np.random.Generator) -> Mutant:
    clip, refusal = good, ""
    try:
        for name in names:
            clip = EVERY[name](clip, rng)
    except UserError as error:
        refusal = str(error)
    return Mutant(
        name=", then ".join(names),
        clip=None if refusal else clip,
        refusal=refusal,
        is_garbage=bool(set(names) & set(GARBAGE)) and set(names) <= set(GARBAGE | BOXES | TIMES),
    )
