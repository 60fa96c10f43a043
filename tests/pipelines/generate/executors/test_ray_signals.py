"""A command that runs on a Ray of its own is stopped at any stage: it ends at once, and with it all that it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from driveforge.finetune.world_model.model import WorldModel, WorldModelConfig

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
# The signals come seconds after the start of Ray's processes, so these are ended quickly or not at all.
AT_ONCE, GONE_WITHIN = 20.0, 15.0


def run_folder(path: Path) -> Path:
    torch.manual_seed(0)
    tiny = WorldModelConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)
    WorldModel.from_config(tiny).save_pretrained(path / "model")
    return path


def begun(run_dir: Path, *words: str) -> subprocess.Popen[str]:
    """``driveforge generate``, whose processes all carry the name of the run folder in their environment."""
    command = [sys.executable, "-m", "driveforge.pipelines.cli", "generate", f"run_dir={run_dir}", *SETTINGS, *words]
    environment = os.environ | {"STARTED_FOR": str(run_dir)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def processes_of(run_dir: Path) -> Iterator[str]:
    """The command lines of what was started for ``run_dir`` and has not ended."""
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
def test_the_command_ends_at_once_leaves_nothing_and_goes_on_to_the_same_clips(tmp_path: Path) -> None:
    whole = run_folder(tmp_path / "whole")
    assert begun(whole).wait() == 0
    run_dir = run_folder(tmp_path / "stopped")
    for signum, stage in (
        (signal.SIGTERM, is_starting_ray),
        (signal.SIGINT, is_starting_ray),
        (signal.SIGTERM, is_making_units),
        (signal.SIGINT, is_making_units),
    ):
        process = begun(run_dir, *RAY)
        assert wait_until(lambda stage=stage: stage(run_dir), 120)  # type: ignore[misc]
        process.send_signal(signum)
        _, said = process.communicate(timeout=AT_ONCE)
        assert (process.returncode, said.splitlines()[-1]) == (128 + signum, "driveforge: interrupted")
        assert "Traceback" not in said
        assert wait_until(lambda: not list(processes_of(run_dir)), GONE_WITHIN), list(processes_of(run_dir))
        assert not (run_dir / ".lock").exists()
        # By these the next round sees that it makes units.
        for attempt in (run_dir / "candidates" / "_attempts").glob("*.json"):
            attempt.unlink()
    assert clips(run_dir).items() < clips(whole).items()
    assert begun(run_dir, *RAY).wait() == 0
    assert clips(run_dir) == clips(whole) and len(clips(whole)) == 4
