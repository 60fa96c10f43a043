"""``driveforge finetune``, killed at any moment while temporary files would lie on another file system."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.video import encode_mp4
from finetune.checkpoints import checkpoints, is_sound
from finetune.vae import initialise_from_pca, to_signal
from finetune.world_model import WorldModel
from tests.finetune.small_run import TINY

ROOT = Path(__file__).resolve().parents[2]
OTHER_DISK = Path("/dev/shm")
MANY = [pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])]

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="needs a second file system at /dev/shm"),
]


def prepare(folder: Path) -> None:
    """A base of a few thousand weights, a driving video and another one."""
    torch.manual_seed(0)
    model = WorldModel.make(TINY)
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    frames = np.random.default_rng(0).integers(0, 255, (20, 4, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    initialise_from_pca(model.vae, to_signal(torch.from_numpy(frames[None, :5])))
    model.save_pretrained(folder / "base")
    for name, pixels in (("drive", frames), ("other", frames[::-1].copy())):
        (folder / name).mkdir()
        (folder / name / "video.mp4").write_bytes(encode_mp4(pixels, 10.0))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def start(folder: Path, run_dir: Path, elsewhere: Path) -> subprocess.Popen[str]:
    settings = [
        "data=video", f"data.root={folder / 'drive'}", "data.height=32", "data.width=48", "data.num_frames=5",
        "data.stride=5", f"replay.root={folder / 'other'}", f"model.checkpoint={folder / 'base'}",
        "finetune.steps=60", "finetune.checkpoint_every=1", "finetune.batch_size=2", "finetune.accumulate=2",
        f"run_dir={run_dir}",
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "finetune", *settings],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(elsewhere), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, base, and a run in ``run`` that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    prepare(folder)
    finish(start(folder, folder / "run", folder))
    return folder


@pytest.mark.parametrize("kills", [2, *MANY])
def test_fine_tune_is_killed_and_ends_with_the_same_model(whole: Path, tmp_path: Path, kills: int) -> None:
    rng, run_dir = random.Random(kills), tmp_path / "run"
    elsewhere = OTHER_DISK / f"driveforge-{os.getpid()}-{kills}"
    elsewhere.mkdir()
    assert elsewhere.stat().st_dev != tmp_path.stat().st_dev
    model = contents(whole / "run" / "model")
    try:
        for turn in range(kills):
            if not run_dir.exists():
                run_dir.mkdir()
                if turn % 10:  # what is encoded takes longest and is killed in its own test
                    for name in ("latents", "replay"):
                        shutil.copytree(whole / "run" / name, run_dir / name)
            process = start(whole, run_dir, elsewhere)
            # Half of the kills at any moment, half while checkpoints are written.
            known, wait = checkpoints(run_dir / "finetune")[:1], rng.uniform(0, 10)
            if turn % 2 == 0:
                while process.poll() is None and checkpoints(run_dir / "finetune")[:1] == known:
                    time.sleep(0.005)
                wait = rng.uniform(0, 0.5)
            time.sleep(wait)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            assert all(is_sound(path) for _, path in checkpoints(run_dir / "finetune")), "none is torn"
            if (run_dir / "model").exists():
                assert contents(run_dir / "model") == model, "a model is whole or not there"
                shutil.rmtree(run_dir)
        finish(start(whole, run_dir, elsewhere))
        assert contents(run_dir / "model") == model
        assert not list((run_dir / "finetune").glob(".*.tmp")) and not list(run_dir.glob(".*.tmp"))
        assert not [path for path in elsewhere.rglob("*") if path.is_file()]
    finally:
        shutil.rmtree(elsewhere)
