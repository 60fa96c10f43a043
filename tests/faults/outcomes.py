"""Outcomes of fault tests, and the tables of their counts at the end of a test run.

Tests record outcomes as properties of their reports, which also works with worker processes.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from _pytest.outcomes import Failed

from driveforge.datasets.errors import MAX_LENGTH, UserError

Record = Callable[[str, object], None]
Found = TypeVar("Found")

KILLS, DAMAGE = "kills", "damage"
REFUSED, SAME, OTHER = "one-line error", "same result", "read as other valid data"
WRONG, RAISED, HUNG = "wrong result", "traceback", "hang"
OUTCOMES = (REFUSED, SAME, OTHER, WRONG, RAISED, HUNG)


def record_outcome(
    record: Record,
    kind: str,
    read: Callable[[], Found],
    classify: Callable[[Found], str],
    check_message: Callable[[str], None] = lambda message: None,
) -> None:
    """Read a damaged file of some ``kind`` and record the outcome.

    ``classify`` asserts that the result of ``read`` is acceptable and returns its outcome. ``check_message`` asserts
    more about an error than that it is one line.
    """
    outcome = RAISED
    try:
        found = read()
        outcome = WRONG
        outcome = classify(found)
    except UserError as error:
        assert outcome == RAISED, f"the file was read, and then: {error}"
        require_one_line(str(error))
        check_message(str(error))
        outcome = REFUSED
    except Failed as error:  # pytest raises Failed, which is not an Exception, at a timeout
        outcome = HUNG if "Timeout" in str(error) else outcome
        raise
    finally:
        record(DAMAGE, [kind, outcome])


def kind_of(path: Path) -> str:
    return f"*{path.suffix}" if path.suffix else path.name


def require_one_line(message: str) -> None:
    is_line = 0 < len(message) <= MAX_LENGTH and len(message.splitlines()) == 1 and "Traceback" not in message
    assert is_line, f"not a one-line error: {message}"


def markdown_tables(properties: Iterable[tuple[str, Any]]) -> list[str]:
    """Markdown tables of the recorded outcomes: counts of outcomes by kind of file, and numbers of kills by command."""
    rows = list(properties)
    counts = Counter(tuple(row) for name, row in rows if name == DAMAGE)
    kills = [row for name, row in rows if name == KILLS]
    lines = []
    if counts:
        kinds = sorted({kind for kind, _ in counts})
        sums = [["all", *(sum(counts[kind, outcome] for kind in kinds) for outcome in OUTCOMES)]]
        lines += _table(
            ["damaged", *OUTCOMES], [[k, *(counts[k, outcome] for outcome in OUTCOMES)] for k in kinds] + sums
        )
    if kills:
        lines += _table(["killed", "kills", "kills after a write", "ended before the kill", "outcome"], sorted(kills))
    return lines


def _table(head: list[str], rows: Iterable[Iterable[object]]) -> list[str]:
    return ["", _line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
