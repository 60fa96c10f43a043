"""A step of fake tensors has the live bytes and the FLOPs of a real one."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.world_model.families.registry import load_on_meta, load_world_model
from driveforge.pipelines.train.estimate.fake_model import ClipSize, blank_batch, blank_clip
from driveforge.pipelines.train.estimate.step import (
    Setup,
    StepCost,
    make_trainable,
    measure_training,
    run_step,
    sampling_cost,
    training_cost,
)
from driveforge.pipelines.train.estimate.switches import make_setup
from tests.defaults import fine_tune_settings
from tests.finetune.released_checkpoints import make_wan

SIZE = ClipSize(num_frames=9, height=64, width=96, num_views=1, frame_rate=10.0)


def setup_of(checkpointing: bool = False, gpus: int = 1, sharded: bool = False, **changes: Any) -> Setup:
    setup = make_setup(fine_tune_settings(**{"adapter": "full", "batch_size": 2} | changes), "cpu", gpus)
    return replace(setup, gradient_checkpointing=checkpointing, is_sharded=sharded)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("wan")
    return {kind: make_wan(root / kind, kind) for kind in ("t2v", "i2v", "ti2v", "t2v-experts")}


def real_step(folder: Path, setup: Setup, batch_size: int) -> StepCost:
    """The cost of a step that computes."""
    torch.manual_seed(0)
    model = load_world_model(folder)
    make_trainable(model, setup)
    model.encode_captions(["blank", ""])  # once per run, on the CPU
    gc.collect()
    return run_step(WorldModelModule(model, setup.settings), blank_clip(model, SIZE), torch.arange(batch_size), setup)


@pytest.mark.parametrize("kind", ["t2v", "i2v", "ti2v"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"checkpointing": True},
        {"precision": "bf16"},
        {"adapter": "lora"},
        {"accumulate_grad_batches": 2, "checkpointing": True, "precision": "bf16"},
    ],
    ids=str,
)
def test_a_fake_step_has_the_bytes_of_a_real_one(folders: dict[str, Path], kind: str, changes: dict[str, Any]) -> None:
    setup = setup_of(**changes)
    real, fake = real_step(folders[kind], setup, 2), measure_training(folders[kind], SIZE, setup, 2, 2)
    assert fake.flops == real.flops
    for name, phase in real.phases.items():
        assert fake.phases[name].gradients == pytest.approx(phase.gradients, rel=0.02), name
        assert fake.phases[name].activations == pytest.approx(phase.activations, rel=0.02), name


def test_experts_share_a_batch(folders: dict[str, Path]) -> None:
    """Two clips take as many FLOPs as twice one, though each expert is called."""
    one, two = (measure_training(folders["t2v-experts"], SIZE, setup_of(), count, 2) for count in (1, 2))
    assert two.flops == pytest.approx(2 * one.flops, rel=0.01)
    assert two.phases["optimizer"].gradients == pytest.approx(2 * one.phases["optimizer"].gradients, rel=0.01)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_extrapolation_over_blocks_is_exact(tmp_path: Path, checkpointing: bool) -> None:
    folder = make_wan(tmp_path / "wan", "t2v")
    set_layers(folder, 7)
    setup = setup_of(checkpointing)
    estimated, whole = training_cost(folder, SIZE, setup, 1), measure_training(folder, SIZE, setup, 1, 7)
    assert estimated.flops == whole.flops
    for name, phase in whole.phases.items():
        total = phase.gradients + phase.activations
        assert estimated.phases[name].gradients + estimated.phases[name].activations == pytest.approx(total, rel=0.01)


def set_layers(folder: Path, count: int) -> None:
    """Change the number of layers in the configuration; the weights are not read."""
    path = folder / "transformer" / "config.json"
    path.write_text(path.read_text().replace('"num_layers": 2', f'"num_layers": {count}'))


def test_no_weights_are_read(tmp_path: Path) -> None:
    folder = make_wan(tmp_path / "wan", "i2v")
    for path in folder.rglob("*.safetensors*"):
        path.unlink()
    assert training_cost(folder, SIZE, setup_of(), 1).flops > 0
    assert sampling_cost(folder, SIZE, "cuda").codec_flops > 0


def test_checkpointing_frees_activations_and_costs_flops(folders: dict[str, Path]) -> None:
    plain, recomputed = (measure_training(folders["t2v"], SIZE, setup_of(c), 4, 2) for c in (False, True))
    assert recomputed.phases["forward"].activations < 0.7 * plain.phases["forward"].activations
    assert 1.1 * plain.flops < recomputed.flops < 4 / 3 * plain.flops


def test_norms_of_cuda_are_in_single_precision_under_autocast(folders: dict[str, Path]) -> None:
    bf16 = setup_of(precision="bf16", batch_size=4)
    cpu, cuda = (measure_training(folders["t2v"], SIZE, replace(bf16, device=kind), 4, 2) for kind in ("cpu", "cuda"))
    assert cpu.flops == cuda.flops
    assert cpu.phases["forward"].activations != cuda.phases["forward"].activations


def test_flops_are_those_of_torch(folders: dict[str, Path]) -> None:
    """Without attention, for which torch has no formula on the CPU."""
    model = load_world_model(folders["t2v"])
    setup = setup_of()
    make_trainable(model, setup)
    model.encode_captions(["blank", ""])
    module = WorldModelModule(model, setup.settings)
    batch = blank_batch(blank_clip(model, SIZE), torch.arange(1))
    with FlopCounterMode(display=False) as counter:
        module.training_step(batch, 0).backward()
    tokens, text, heads, head, layers = 3 * 4 * 6, 512, 2, 24, 2
    # Per layer: two matmuls forward and five backward, in self- and in cross-attention.
    attention = layers * 7 * 2 * heads * head * tokens * (tokens + text)
    assert measure_training(folders["t2v"], SIZE, setup, 1, 2).flops == counter.get_total_flops() + attention


def test_the_model_on_the_meta_device_has_the_shapes_of_the_loaded_one(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        loaded, meta = load_world_model(folder).state_dict(), load_on_meta(folder).state_dict()
        assert {name: value.shape for name, value in loaded.items()} == {n: v.shape for n, v in meta.items()}
        assert all(value.is_meta for value in meta.values())
