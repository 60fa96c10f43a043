"""Runs a command repeatedly without repeating its imports: ``python -m tests.faults.command_server gate WORD ...``.

For each line of standard input it forks a run, prints the process group of the run, and its exit code when it ends.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

Work = Callable[[], object]
# Modules that commands import only while they run.
LAZY_IMPORTS = {
    "calibrate": ("driveforge.finetune.world_model.generator", "driveforge.pipelines.plots.limits"),
    "finetune": ("diffusers", "lightning.pytorch", "mlflow.tracking"),
    "nightly": ("diffusers", "lightning.pytorch", "mlflow.tracking", "driveforge.pipelines.plots.limits"),
    "replay": ("driveforge.pipelines.replay.add",),
}


def main(command: str, words: Sequence[str]) -> None:
    work = _WORKS.get(command, command_line_work)(command, words)
    for name in LAZY_IMPORTS.get(command, ()):
        import_module(name)
    print("ready", flush=True)
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            print(os.getpid(), flush=True)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            sys.exit(work() or 0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def stage_of(command: str) -> ModuleType:
    from driveforge.pipelines.commands.catalog import COMMANDS

    return import_module(next(known.module for known in COMMANDS if known.name == command))


def command_line_work(command: str, words: Sequence[str]) -> Work:
    from driveforge.pipelines import cli

    stage_of(command)
    return partial(cli.main, [command, *words])


def stage_work(command: str, words: Sequence[str]) -> Work:
    """A stage without MLflow, whose ids and times differ between runs."""
    from driveforge.pipelines.config.compose import compose
    from driveforge.pipelines.run_dir import run_dir_lock

    stage, config = stage_of(command), compose(list(words))

    def work() -> None:
        with run_dir_lock(config.run_dir):
            if command == "gate":
                stage.gate(config.run, config.calibration_path)
            elif command == "export":
                stage.export(config.run, config.export)
            else:
                from driveforge.pipelines.plots.limits import plot_limits

                plot_limits(config.run_dir / "calibration.png", stage.calibrate_run(config))

    return work


def fake_generation_work(command: str, words: Sequence[str]) -> Work:
    """Generation with the fake generator: ``words`` are the candidates folder and the executor."""
    from tests.pipelines.small_plans import generate_small

    def work() -> None:
        generate_small(Path(words[0]), words[1], seconds=0.3)

    return work


def stored_generation_work(command: str, words: Sequence[str]) -> Work:
    """As ``fake_generation_work``, for the URL of a run folder in an object store."""
    from driveforge.datasets.stores.working_copy import working_copy
    from tests.pipelines.small_plans import generate_small

    def work() -> None:
        with working_copy(words[0], (), print) as copy:
            generate_small(copy.folder / "candidates", words[1], seconds=0.3)
            copy.upload()

    return work


_WORKS = {
    "generate in a store": stored_generation_work,
    "generate": fake_generation_work,
    "gate": stage_work,
    "export": stage_work,
    "calibrate": stage_work,
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
