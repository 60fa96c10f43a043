"""The order of a plan: which scene gets which edit next, spread over the scenes or balanced over their traits."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Scene
from driveforge.pipelines.generate.plan.traits import traits_of

# The reason why a pair of a scene and an edit is not planned; "" if it is.
Refusal = Callable[[int, int], str]


@dataclass(kw_only=True, slots=True, eq=False)
class _Cell:
    """Scenes that take turns, by their numbers. After each pass over them, every scene gets its next edit."""

    number: int
    scenes: Sequence[int]
    visits: int = 0

    def next_pair(self, num_edits: int) -> tuple[int, int]:
        turn, place = divmod(self.visits, len(self.scenes))
        self.visits += 1
        return self.scenes[place], (self.number + place + turn) % num_edits


def iter_pairs(cells: Sequence[Sequence[int]], num_edits: int, refusal: Refusal) -> Iterator[tuple[int, int]]:
    """Endless pairs of a scene's and an edit's number; the cells take turns, so each has the same share.

    A cell without any pair that is planned is left out. Raises UserError with a reason if that is true for all.
    """
    alive = [_Cell(number=number, scenes=scenes) for number, scenes in enumerate(cells)]
    while alive:
        for cell in tuple(alive):
            for _ in range(len(cell.scenes) * num_edits):
                scene, edit = cell.next_pair(num_edits)
                if not (reason := refusal(scene, edit)):
                    yield scene, edit
                    break
            else:
                alive.remove(cell)
    raise UserError(reason)


def make_cells(scenes: Sequence[Scene], balance: Sequence[str]) -> list[list[int]]:
    """The scenes by the bins of their traits in ``balance``, spread in each; one cell of all if that is empty."""
    if not balance:
        return [_spread_order(len(scenes))]
    cells: dict[tuple[int, ...], list[int]] = {}
    for number in _spread_order(len(scenes)):
        traits = traits_of(scenes[number])
        cells.setdefault(tuple(traits.bin_of(trait) for trait in balance), []).append(number)
    return [cells[key] for key in sorted(cells)]


def _spread_order(count: int) -> list[int]:
    """A permutation of 0..count-1 whose every prefix is spread evenly.

    It steps by about the golden ratio conjugate of ``count``, made coprime to ``count`` so that no index repeats.
    """
    stride = max(1, round(count * 0.618))
    while math.gcd(stride, count) != 1:
        stride += 1
    return [place * stride % count for place in range(count)]
