"""A command on a local Ray cluster that is stopped at any stage ends quickly, with all processes that it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = [
    "data=simulated",
    "data.height=32",
    "data.width=48",
    "data.num_frames=5",
    "data.num_scenes=4",
    "generate.sampler.num_steps=1",
    "generate.num_clips=4",
    "generate.clips_per_unit=1",
]
RAY = ["executor=ray", "executor.workers=2"]
# Seconds until the command has ended, and until all processes that it started have ended.
EXIT_SECONDS, CLEANUP_SECONDS = 20.0, 15.0


def run_folder(path: Path) -> Path:
    torch.manual_seed(0)
    tiny = TinyConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)
    TinyWorldModel.from_config(tiny).save_pretrained(path / "model")
    return path


def start_generate(run_dir: Path, *words: str) -> subprocess.Popen[str]:
    """Start ``driveforge generate``; all its processes have the run folder in their environment."""
    command = [sys.executable, "-m", "driveforge.pipelines.cli", "generate", f"run_dir={run_dir}", *SETTINGS, *words]
    environment = os.environ | {"STARTED_FOR": str(run_dir)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def processes_of(run_dir: Path) -> Iterator[str]:
    """The command lines of the running processes that were started for ``run_dir``."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"STARTED_FOR={run_dir}\0".encode() in (folder / "environ").read_bytes():
                yield (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def clips(run_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run_dir / "candidates").glob("*.tar")}


def is_making_units(run_dir: Path) -> bool:
    return any((run_dir / "candidates" / "_attempts").glob("*.json"))


def is_starting_ray(run_dir: Path) -> bool:
    return any("/raylet " in command for command in processes_of(run_dir))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stopped_command_leaves_no_process_and_resumes_to_the_same_clips(tmp_path: Path) -> None:
    whole = run_folder(tmp_path / "whole")
    assert start_generate(whole).wait() == 0
    run_dir = run_folder(tmp_path / "stopped")
    for signum, stage in (
        (signal.SIGTERM, is_starting_ray),
        (signal.SIGINT, is_starting_ray),
        (signal.SIGTERM, is_making_units),
        (signal.SIGINT, is_making_units),
    ):
        process = start_generate(run_dir, *RAY)
        assert wait_until(lambda stage=stage: stage(run_dir), 120)  # type: ignore[misc]
        process.send_signal(signum)
        _, said = process.communicate(timeout=EXIT_SECONDS)
        assert (process.returncode, said.splitlines()[-1]) == (128 + signum, "driveforge: interrupted")
        assert "Traceback" not in said
        assert wait_until(lambda: not list(processes_of(run_dir)), CLEANUP_SECONDS), list(processes_of(run_dir))
        assert not (run_dir / ".lock").exists()
        # is_making_units waits for new ones in the next round.
        for attempt in (run_dir / "candidates" / "_attempts").glob("*.json"):
            attempt.unlink()
    assert clips(run_dir).items() < clips(whole).items()
    assert start_generate(run_dir, *RAY).wait() == 0
    assert clips(run_dir) == clips(whole) and len(clips(whole)) == 4
