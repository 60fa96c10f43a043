"""Released families from a fine-tune with replay to exported shards, at two layers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentSample, write_latents
from driveforge.datasets.scene import Clip
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.datasets.webdataset_shards.data_card import Provenance
from driveforge.datasets.webdataset_shards.packing import AcceptedSample, pack_shards
from driveforge.datasets.webdataset_shards.source import ShardSource
from driveforge.datasets.webdataset_shards.tar_samples import scan_tar
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.finetune.training.adapters import LORA_FILES, save_adapters
from driveforge.finetune.training.fine_tune import FineTuneResult, fine_tune
from driveforge.finetune.world_model.families.registry import load_clip_encoder, load_world_model, recognize_family
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.pipelines.generate.requests import Request
from driveforge.pipelines.generate.worker import candidate_members
from driveforge.replay.buffer import ReplayBuffer
from tests.defaults import export_settings, fine_tune_settings, replay_mix, sampler_settings, simulation_config
from tests.finetune.released_checkpoints import make_cosmos2, make_wan

KINDS = ("t2v", "i2v", "ti2v", "t2v-experts", "i2v-experts", "cosmos2")
SAMPLER = sampler_settings(num_steps=3, strength=1.0, inpaint_steps=0, inpaint_strength=1.0, guidance_scale=2.0)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Nine frames of 32 x 64: three latent frames of a codec of stride 4."""
    size = simulation_config(domains=("driving-day",), num_scenes=1, num_frames=9, height=32, width=64)
    source = SimulatedSource(size)
    return source.load(source.scenes()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_from_a_fine_tune_to_shards(kind: str, clip: Clip, tmp_path: Path) -> None:
    released = make_cosmos2(tmp_path / kind) if kind == "cosmos2" else make_wan(tmp_path / kind, kind)
    tuned = run_fine_tune(released, clip, tmp_path, "at once")
    run_fine_tune(released, clip, tmp_path, "resumed", steps=2)
    resumed = run_fine_tune(released, clip, tmp_path, "resumed")
    weights = resumed.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in tuned.model.state_dict().items())
    assert tuned.sample_counts["orbit"] > 0
    for part in tuned.model.transformers:
        assert weights[f"grafts.{part}.patch.weight"].any(), "every expert has learned"
    folder = tmp_path / "model"
    tuned.model.save_pretrained(folder)
    save_adapters(tuned.adapters, folder)
    assert recognize_family(folder) == recognize_family(released)
    check_lora(released, folder, tuned)
    check_clips(released, folder, tuned, clip)
    check_shards(folder, clip, tmp_path / "shards")


def check_lora(released: Path, folder: Path, tuned: FineTuneResult) -> None:
    """The LoRA on the released transformer, loaded by diffusers, gives the saved transformer."""
    merged, adapted = load_world_model(folder), load_world_model(released)
    for name, part in adapted.transformers.items():
        part.load_lora_adapter(folder, weight_name=LORA_FILES[name], prefix="transformer")
        part.fuse_lora()
        part.unload_lora()
        expected, before = merged.transformers[name].state_dict(), load_world_model(released).state_dict()
        changed = [key for key, value in expected.items() if not torch.equal(value, before[f"{name}.{key}"])]
        assert changed, "training changed the transformer"
        for key, value in part.state_dict().items():
            torch.testing.assert_close(value, expected[key], atol=1e-5, rtol=1e-5)


def check_clips(released: Path, folder: Path, tuned: FineTuneResult, clip: Clip) -> None:
    made, before, in_memory = (
        generator.generate(clip.scene, clip.frames[:, :1], seed=1, settings=SAMPLER).frames
        for generator in (
            WorldModelGenerator.load(folder),
            WorldModelGenerator.load(released),
            WorldModelGenerator(tuned.model, ""),
        )
    )
    # Merged weights lie otherwise in memory than loaded ones, which may change the last bits.
    assert np.abs(made.astype(int) - in_memory).max() <= 1
    assert not np.array_equal(made, before)


def check_shards(folder: Path, clip: Clip, out: Path) -> None:
    """A generated clip is measured, packed and read back."""
    generator = WorldModelGenerator.load(folder)
    request = Request(scene=clip.scene, seed=1, model=generator.digest, settings=SAMPLER, edit="as-recorded")
    made = generator.generate(clip.scene, clip.frames[:, :1], seed=1, settings=SAMPLER)
    tar = out.with_suffix(".tar")
    write_tar(tar, [(clip.scene.clip_id, candidate_members(request, made))])
    samples = [AcceptedSample(tar=tar, key=key, members=members) for key, members in scan_tar(tar).items()]
    pack_shards(samples, out, export_settings(), Provenance(model="", calibration="", num_generated=1, rejected={}))
    source = ShardSource(out)
    assert source.load(source.scenes()[0]).frames.shape == clip.frames.shape


def make_caches(checkpoint: Path, clip: Clip, root: Path) -> tuple[Any, ReplayBuffer]:
    """Latents of two driving clips, and a buffer of two others."""
    encoder = load_clip_encoder(checkpoint)
    samples = []
    for number in range(4):
        frames = np.roll(clip.frames, number, axis=3)
        tensors = encoder.encode_clip(Clip(scene=clip.scene, frames=frames)).map(Tensor.half).to_mapping()
        domain, caption = ("driving-day", "a car") if number < 2 else ("orbit", "")
        samples.append(LatentSample(clip_id=f"c{number}", domain=domain, caption=caption, tensors=tensors))
    cache = write_latents(root / "latents", "key", samples[:2])
    with ReplayBuffer(root / "buffer", 4) as buffer:
        for sample_ in samples[2:]:
            buffer.add(sample_)
    return cache, ReplayBuffer.open(root / "buffer")


def run_fine_tune(checkpoint: Path, clip: Clip, root: Path, name: str, **changes: Any) -> FineTuneResult:
    cache, buffer = make_caches(checkpoint, clip, root / name)
    usual = {"steps": 3, "batch_size": 4, "warmup_steps": 1, "lora_rank": 2, "ema_decay": 0.5, "checkpoint_every": 1}
    settings = fine_tune_settings(**{**usual, "adapter": "lora", "learning_rate": 0.02} | changes)
    return fine_tune(checkpoint, cache, buffer, settings, replay_mix(share=0.5), root / name / "run")


def test_training_continues_a_lora_of_the_same_rank_and_model(clip: Clip, tmp_path: Path) -> None:
    released = make_wan(tmp_path / "t2v", "t2v")
    first = run_fine_tune(released, clip, tmp_path, "first", steps=1)
    folder = tmp_path / "lora"
    folder.mkdir()
    save_adapters(first.adapters, folder)
    still = run_fine_tune(released, clip, tmp_path, "second", steps=1, lora_start=folder, learning_rate=0.0)
    for name, value in first.adapters["transformer"].items():
        torch.testing.assert_close(still.adapters["transformer"][name], value)
    with pytest.raises(UserError, match=r"has rank 2, finetune\.lora_rank is 3; set finetune\.lora_rank=2"):
        run_fine_tune(released, clip, tmp_path, "third", lora_start=folder, lora_rank=3)
    other = make_cosmos2(tmp_path / "cosmos2")
    with pytest.raises(UserError, match=r"is the LoRA of another model: \d+ of its \d+ weights fit"):
        run_fine_tune(other, clip, tmp_path, "fourth", lora_start=folder)
    with pytest.raises(UserError, match=r"lora_start needs finetune\.adapter=lora"):
        run_fine_tune(released, clip, tmp_path, "fifth", lora_start=folder, adapter="full")
