"""Work on all cores: in order, errors as they were, and no silence where a process dies."""

import os
import signal
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.processes.parallel import parallel_map


def square(number: int) -> int:
    return number * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise UserError("clip 3: is corrupted")
    return number


def die_at_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave_a_note(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


def test_results_come_in_order() -> None:
    assert list(parallel_map(square, range(20))) == [n * n for n in range(20)]
    assert list(parallel_map(square, [])) == []


def test_every_process_is_prepared(tmp_path: Path) -> None:
    assert list(parallel_map(square, [1, 2, 3], leave_a_note, (tmp_path,))) == [1, 4, 9]
    assert 1 <= len(list(tmp_path.iterdir())) <= (os.cpu_count() or 1)


def test_what_came_before_an_error_is_given_first() -> None:
    results = parallel_map(refuse_three, range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="clip 3: is corrupted"):
        next(results)


def test_a_killed_process_is_told_in_words() -> None:
    with pytest.raises(UserError, match="a worker process died"):
        list(parallel_map(die_at_two, range(4)))
