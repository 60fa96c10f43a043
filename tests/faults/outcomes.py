"""What the fault tests count, and the tables of it that end a session.

Tests record rows as properties of their reports, so that they come from other processes too.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from _pytest.outcomes import Failed

from driveforge.datasets.errors import MAX_LENGTH, UserError

Record = Callable[[str, object], None]
Found = TypeVar("Found")

KILLS, MUTATION = "kills", "mutation"
TOLD, SAME, OTHER = "told in a line", "the same result", "read as other sound data"
WRONG, RAISED, HUNG = "accepted wrongly", "traceback", "hang"
OUTCOMES = (TOLD, SAME, OTHER, WRONG, RAISED, HUNG)


def judge(
    record: Record,
    kind: str,
    read: Callable[[], Found],
    end_of: Callable[[Found], str],
    require_told: Callable[[str], None] = lambda message: None,
) -> None:
    """Read what was mutated, of a ``kind`` of file, and count how that ends.

    ``end_of`` asserts that what was read is right, and says in which way. ``require_told`` asserts more of what was
    told than that it is a line.
    """
    outcome = RAISED
    try:
        found = read()
        outcome = WRONG
        outcome = end_of(found)
    except UserError as error:
        assert outcome == RAISED, f"was read, and then: {error}"
        require_line(str(error))
        require_told(str(error))
        outcome = TOLD
    except Failed as error:  # which is no Exception, and pytest's word for a test that ran out of time
        outcome = HUNG if "Timeout" in str(error) else outcome
        raise
    finally:
        record(MUTATION, [kind, outcome])


def kind_of(path: Path) -> str:
    return f"*{path.suffix}" if path.suffix else path.name


def require_line(message: str) -> None:
    is_line = 0 < len(message) <= MAX_LENGTH and len(message.splitlines()) == 1 and "Traceback" not in message
    assert is_line, f"is not told in a line: {message}"


def tables(properties: Iterable[tuple[str, Any]]) -> list[str]:
    """Lines of Markdown: of all that was recorded, how often which kind of file ended how, and what was killed."""
    rows = list(properties)
    counts = Counter(tuple(row) for name, row in rows if name == MUTATION)
    kills = [row for name, row in rows if name == KILLS]
    lines = []
    if counts:
        kinds = sorted({kind for kind, _ in counts})
        sums = [["all", *(sum(counts[kind, outcome] for kind in kinds) for outcome in OUTCOMES)]]
        lines += _table(
            ["mutated", *OUTCOMES], [[k, *(counts[k, outcome] for outcome in OUTCOMES)] for k in kinds] + sums
        )
    if kills:
        lines += _table(["killed", "SIGKILLs", "of them while it wrote", "ended by itself", "outcome"], sorted(kills))
    return lines


def _table(head: list[str], rows: Iterable[Iterable[object]]) -> list[str]:
    return ["", _line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
