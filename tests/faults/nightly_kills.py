"""Kills of a night in a given stage."""

import random
import time
from pathlib import Path

from driveforge.pipelines.nightly.night import find_unfinished
from tests.faults.killing import KillableCommand, require_no_process


def kill_in_stage(command: KillableCommand, nights: Path, stage_before: str, rng: random.Random, within: float) -> int:
    """Start a pass and kill it at a random time up to ``within`` seconds after ``stage_before`` is done ("": at once).

    Returns its exit status: negative if it was still running.
    """
    run = command.start()
    while stage_before and not run.has_ended():
        night = find_unfinished(nights)
        if night is not None and night.has(stage_before):
            break
        time.sleep(0.01)
    time.sleep(rng.uniform(0, within))
    run.kill()
    status = run.wait()
    require_no_process(command)
    return status
