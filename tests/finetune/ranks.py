"""Processes with the environment that ``torchrun`` gives its ranks, forked from a server that has imported torch."""

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

import pytest
import torch


@contextmanager
def rank_server(*modules: str) -> Iterator[None]:
    """A fork server that has imported ``modules``; ended afterwards, because a process has only one."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([*modules])
    try:
        yield
    finally:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


def run_ranks(world_size: int, target: Callable[..., None], *args: Any) -> list[int]:
    """The exit codes of ``world_size`` processes that call ``target``; when one fails, the others are killed."""
    context = multiprocessing.get_context("forkserver")
    port = _free_port()
    processes = [
        context.Process(target=_run_rank, args=(torchrun_environment(rank, world_size, port), target, args))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes) and not any(process.exitcode for process in processes):
            processes[0].join(0.05)
    finally:  # also when the test is interrupted
        for process in processes:
            process.kill()
            process.join()
    return [process.exitcode or 0 for process in processes]


@contextmanager
def one_rank() -> Iterator[None]:
    """This process as the only rank of ``torchrun``."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in torchrun_environment(0, 1, _free_port()).items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()


def torchrun_environment(rank: int, world_size: int, port: int) -> dict[str, str]:
    return {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
    }


def _run_rank(environment: dict[str, str], target: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    target(*args)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port
