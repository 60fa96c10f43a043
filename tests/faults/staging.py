"""Runs of a command, each in a process with its imports behind it: ``python -m tests.faults.staging gate WORD ...``.

It forks for each line that it is sent, and tells the process group of the run, and its status when it has ended.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

Work = Callable[[], object]
# What commands import as they go.
LATER = {
    "calibrate": ("driveforge.finetune.world_model.generator", "driveforge.pipelines.plots.limits"),
    "finetune": ("diffusers", "lightning.pytorch", "mlflow.tracking"),
    "replay": ("driveforge.pipelines.replay.add",),
}


def main(command: str, words: Sequence[str]) -> None:
    work = _WORKS.get(command, on_command_line)(command, words)
    for name in LATER.get(command, ()):
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


def on_command_line(command: str, words: Sequence[str]) -> Work:
    from driveforge.pipelines import cli

    stage_of(command)
    return partial(cli.main, [command, *words])


def in_run_folder(command: str, words: Sequence[str]) -> Work:
    """Without MLflow, whose ids and times differ from run to run."""
    from driveforge.pipelines.config.compose import compose
    from driveforge.pipelines.run_dir import run_dir_lock

    stage, config = stage_of(command), compose(list(words))

    def work() -> None:
        with run_dir_lock(config.run_dir):
            if command == "calibrate":
                from driveforge.pipelines.plots.limits import plot_limits

                plot_limits(config.run_dir / "calibration.png", stage.calibrate_run(config))
            else:
                run = config.run
                given = {"gate": (run, config.calibration_path), "export": (run, config.export)}.get(command, (config,))
                getattr(stage, command)(*given)

    return work


def with_the_fake_generator(command: str, words: Sequence[str]) -> Work:
    """Candidates in a folder, by an executor."""
    from tests.pipelines.small_plans import generate_small

    def work() -> None:
        generate_small(Path(words[0]), words[1], seconds=0.3)

    return work


_WORKS = {
    "generate": with_the_fake_generator,
    "gate": in_run_folder,
    "export": in_run_folder,
    "calibrate": in_run_folder,
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
