"""``driveforge pretrain`` by the clock: a base is made, a killed command resumes, and no renderer is left."""

import argparse
import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.finetune.training.checkpoints import list_checkpoints
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.finetune.world_model.wan_codec import load_vae
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.train.pretrain import main
from tests.defaults import sampler_settings, simulation_config

ROOT = Path(__file__).parents[4]
SMALL = [
    "data.height=32",
    "data.width=48",
    "data.num_frames=5",
    "pretrain.domains=[driving-day, falling]",
    "pretrain.batch_size=2",
    "pretrain.vae_batch_size=2",
    "pretrain.transformer.num_layers=1",
    "pretrain.transformer.num_heads=1",
    "pretrain.transformer.ffn_dim=32",
    "pretrain.streaming.renderers=1",
    "pretrain.streaming.first_clips=4",
    "pretrain.streaming.pool_clips=40",
    "pretrain.streaming.vae_minutes=0.02",
    "pretrain.streaming.decoder_every=2",
    "pretrain.streaming.checkpoint_minutes=0.01",
]


def settings(out: Path, minutes: float, *more: str) -> list[str]:
    return [*SMALL, f"pretrain.out={out}", f"pretrain.minutes={minutes}", *more]


def pretrain(out: Path, minutes: float, *more: str) -> Path:
    main(compose(settings(out, minutes, *more)), argparse.Namespace())
    assert not multiprocessing.active_children(), "renderers end with the command"
    return out / "model"


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_base_is_made_and_continued_from(tmp_path: Path) -> None:
    first = pretrain(tmp_path / "a", 0.05)
    model = TinyWorldModel.from_pretrained(first)
    assert model.config.num_layers == 1
    assert not torch.equal(model.latent_std, torch.ones_like(model.latent_std)), "estimated from the first clips"
    recipe = json.loads((first / "recipe.json").read_text())
    assert recipe["pretrain"]["minutes"] == 0.05 and recipe["pretrain"]["streaming"]["renderers"] == 1
    curve = list(csv.DictReader((first / "curve.csv").open()))
    assert curve and {"step", "minutes", "samples_per_s", "loss", "decoder_dB"} <= set(curve[0])
    assert not (tmp_path / "a" / "latents").exists(), "nothing is cached"
    sums = [line.split("  ")[1] for line in (first / "SHA256SUMS").read_text().splitlines()]
    assert sorted([*sums, "SHA256SUMS"]) == sorted(
        path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file()
    )

    second = pretrain(tmp_path / "b", 0.02, f"pretrain.start={first}", "pretrain.streaming.decoder_learning_rate=0")
    theirs = TinyWorldModel.from_pretrained(second)
    assert torch.equal(theirs.latent_std, model.latent_std), "the start's preconditioning is kept"
    pairs = zip(theirs.codec.vae.parameters(), model.codec.vae.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert theirs.digest() != model.digest()


def test_training_the_decoder_leaves_the_encoder(tmp_path: Path) -> None:
    out = tmp_path / "a"
    trained = TinyWorldModel.from_pretrained(pretrain(out, 0.04)).codec.vae
    before = load_vae(out).half().float()
    assert all(
        torch.equal(a, b) for a, b in zip(trained.encoder.parameters(), before.encoder.parameters(), strict=True)
    )
    pairs = zip(trained.decoder.parameters(), before.decoder.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.skipif(sys.platform != "linux", reason="renderers share memory as on Linux")
def test_a_killed_command_leaves_no_renderer_and_resumes(tmp_path: Path) -> None:
    out = tmp_path / "a"
    command = [sys.executable, "-m", "driveforge.pipelines.cli", "pretrain", *settings(out, 5)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: list_checkpoints(out / "checkpoints"), 200)
    renderers = psutil.Process(process.pid).children(recursive=True)
    assert renderers
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(renderers, timeout=20)
    assert not alive
    (step, _), *_ = list_checkpoints(out / "checkpoints")

    with pytest.raises(UserError, match="batch_size was 2, is 3"):
        pretrain(out, 0.02, "pretrain.batch_size=3")
    folder = pretrain(out, 0.02, "pretrain.streaming.pool_clips=30")
    steps = [float(row["step"]) for row in csv.DictReader((folder / "curve.csv").open())]
    assert steps == sorted(steps) and steps[0] <= step, "the curve goes on"
    assert all(p.isfinite().all() for p in TinyWorldModel.from_pretrained(folder).parameters())


@pytest.mark.slow
def test_compiled_blocks_are_trained(tmp_path: Path) -> None:
    folder = pretrain(tmp_path / "a", 0.03, "pretrain.compile=true")
    assert list(csv.DictReader((folder / "curve.csv").open()))


@pytest.mark.skipif(os.cpu_count() == 1, reason="both processes need a core")
def test_the_strided_codec_is_trained_and_the_world_model_on_it(tmp_path: Path) -> None:
    out = tmp_path / "a"
    pretrain(out, 0.02, "pretrain.codec=strided")
    vae = load_vae(out)
    assert vae.config.scale_factor_temporal == 4 and vae.config.z_dim == 16
    assert vae.config.latents_std != [1.0] * 16, "latents are normalized"
    generator = WorldModelGenerator.load(out / "model")
    assert (generator.model.codec.temporal_stride, generator.model.codec.channels) == (4, 16)
    size = simulation_config(height=32, width=48, num_frames=5, domains=("driving-day",), num_scenes=1)
    clip = SimulatedSource(size).load(SimulatedSource(size).scenes()[0])
    made = generator.generate(clip.scene, clip.frames[:, :1], seed=0, settings=sampler_settings(num_steps=1))
    assert made.frames.shape == clip.frames.shape


def test_the_strided_codec_needs_minutes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"codec=strided needs pretrain\.minutes"):
        main(compose([*SMALL, f"pretrain.out={tmp_path}", "pretrain.codec=strided"]), argparse.Namespace())


def test_the_first_clips_must_fit_into_the_pool(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="first_clips must be at most"):
        main(compose([*settings(tmp_path, 1), "pretrain.streaming.first_clips=41"]), argparse.Namespace())
    assert not (tmp_path / "vae").exists()
