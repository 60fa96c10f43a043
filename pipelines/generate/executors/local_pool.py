"""Worker processes on this machine: a unit that crashes or hangs affects only its own process.

They are forked from a server process that has only imported modules, since CUDA contexts and threads do not survive a
fork. Messages to them are pickled in memory and never stored.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection, forkserver
from typing import Any

from driveforge.pipelines.generate.executors.interface import (
    FATAL_ERRORS,
    TaskResult,
    WorkerFactory,
    WorkerProcess,
    run_worker,
)
from driveforge.pipelines.generate.units import WorkUnit
from driveforge.pipelines.processes.environment import environment
from driveforge.pipelines.processes.orphans import exit_with_parent
from driveforge.pipelines.processes.threads import THREAD_ENVIRONMENT, limit_threads

_PRELOADED_MODULES = [
    "driveforge.finetune.world_model.sampling",
    "driveforge.pipelines.generate.command",
    "driveforge.validation.measures",
]


class LocalPool:
    """Local processes, each with a worker from ``factory``."""

    def __init__(self, factory: WorkerFactory) -> None:
        self._factory = factory
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED_MODULES)
        with environment(THREAD_ENVIRONMENT):  # before the processes load libraries
            forkserver.ensure_running()

    def start(self) -> "LocalProcess":
        parent_end, child_end = self._context.Pipe()
        arguments = (child_end, self._factory, os.environ | THREAD_ENVIRONMENT)
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        child_end.close()
        return LocalProcess(process, parent_end)

    def wait(self, busy: Sequence[WorkerProcess], timeout: float) -> list[TaskResult]:
        by_pipe = {process.pipe: process for process in busy if isinstance(process, LocalProcess)}
        return [by_pipe[pipe].receive() for pipe in connection.wait(list(by_pipe), timeout)]  # type: ignore[index]


class LocalProcess:
    def __init__(self, process: Any, pipe: "connection.Connection[Any, Any]") -> None:
        self._process = process
        self.pipe = pipe

    def submit(self, unit: WorkUnit) -> None:
        with suppress(OSError):  # the process has terminated; receive() reports it
            self.pipe.send(unit)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def receive(self) -> TaskResult:
        try:
            record, error, is_fatal = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return TaskResult(process=self, error=f"the worker terminated: {self._exit_reason()}", has_died=True)
        return TaskResult(process=self, record=record, error=error, is_fatal=is_fatal)

    def _exit_reason(self) -> str:
        code = self._process.exitcode
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _serve(pipe: "connection.Connection[Any, Any]", factory: WorkerFactory, environment: Mapping[str, str]) -> None:
    """The main function of a worker process: create the worker, then make units until the pipe closes.

    Sends (record, error, is_fatal) after each task.
    """
    os.environ.update(environment)  # that of the fork server may be older
    # Ctrl-C reaches every process of the terminal; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    exit_with_parent()
    limit_threads()
    try:
        worker = factory()
    except Exception:
        pipe.send(({}, traceback.format_exc(), False))
        return
    pipe.send(({}, "", False))
    while True:
        try:
            unit = pipe.recv()
        except EOFError:
            return
        try:
            result = run_worker(worker, unit), "", False
        except FATAL_ERRORS as error:
            result = {}, str(error), True
        except Exception:
            result = {}, traceback.format_exc(), False
        pipe.send(result)
