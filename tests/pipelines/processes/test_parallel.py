"""The parallel map: order, errors, and dead processes."""

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


def record_pid(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


def test_results_are_in_order() -> None:
    assert list(parallel_map(square, range(20))) == [n * n for n in range(20)]
    assert list(parallel_map(square, [])) == []


def test_every_process_runs_the_initializer(tmp_path: Path) -> None:
    assert list(parallel_map(square, [1, 2, 3], record_pid, (tmp_path,))) == [1, 4, 9]
    assert 1 <= len(list(tmp_path.iterdir())) <= (os.cpu_count() or 1)


def test_results_before_an_error_are_yielded() -> None:
    results = parallel_map(refuse_three, range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="clip 3: is corrupted"):
        next(results)


def test_a_killed_process_is_a_user_error() -> None:
    with pytest.raises(UserError, match="a worker process terminated"):
        list(parallel_map(die_at_two, range(4)))
