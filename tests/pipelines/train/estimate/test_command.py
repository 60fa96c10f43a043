"""``driveforge estimate`` prints parts, verdict and what to switch on; a fine-tune that cannot fit is refused."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.pipelines import cli
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.train.estimate.command import main, make_estimate
from driveforge.pipelines.train.estimate.devices import GIB, find_device, measure_matmul
from driveforge.pipelines.train.estimate.fake_model import ClipSize
from driveforge.pipelines.train.estimate.plan import bisect_most, count_bytes, estimate_training
from driveforge.pipelines.train.estimate.report import print_estimate, verdict
from driveforge.pipelines.train.estimate.require import require_memory
from driveforge.pipelines.train.estimate.settings import EstimateSettings
from driveforge.pipelines.train.estimate.switches import (
    apply_changes,
    find_fitting,
    format_changes,
    list_switches,
    make_setup,
)
from tests.benchmarks.estimate_error import Case, write_configuration
from tests.defaults import fine_tune_settings

ROOT = Path(__file__).parents[4]
LARGE = ["data.height=480", "data.width=832", "data.num_frames=81", "finetune=full", "finetune.precision=bf16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration files of Wan 2.1 14B."""
    root = tmp_path_factory.mktemp("wan")
    return write_configuration(root, Case(layers=40, heads=40, ffn=13824, frames=81, height=480, width=832))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration files of a small model of the same family."""
    case = Case(layers=2, heads=1, ffn=256, frames=5, height=64, width=64)
    return write_configuration(tmp_path_factory.mktemp("wan"), case)


@pytest.mark.slow
def test_14b_does_not_fit_one_h100_and_the_output_says_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose([f"model.checkpoint={folder}", *LARGE, "estimate.gpus=8", "finetune.batch_size=8"])
    assert main(config, argparse.Namespace()) == 1
    printed = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in printed.splitlines() if "│" in line}
    # 14.29 G weights in float32, and as many gradients and averages, and twice as many moments.
    assert 53 < float(rows["weights"]) == float(rows["gradients"]) == float(rows["EMA"]) < 54
    assert float(rows["optimizer"]) == pytest.approx(2 * float(rows["weights"]), abs=0.02)
    assert "does not fit in the 79.1 GiB of H100" in printed
    assert "switch on finetune.gradient_checkpointing=true finetune.parallel=fsdp (saves" in printed


def test_gpus_is_a_short_key(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data.height=64", "data.width=64", "data.num_frames=5", "gpus=0"]
    assert cli.main(["estimate", f"model.checkpoint={small}", f"run_dir={tmp_path}", *words]) == 2
    assert "estimate.gpus must be" in capsys.readouterr().err


def test_what_fits_has_a_largest_batch(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [
        "estimate.gpu=RTX-4090",
        "finetune=full",
        "finetune.precision=bf16",
        "finetune.batch_size=2",
        "finetune.strategy=l2sp",
        "data.num_frames=5",
    ]
    config = compose([f"model.checkpoint={small}", *overrides])
    estimate = make_estimate(config, small, ClipSize.of(config.data))
    print_estimate(estimate)
    printed = capsys.readouterr().out
    assert "fits in the 23.6 GiB of RTX-4090" in printed
    assert "finetune.strategy=l2sp keeps further copies of weights" in printed
    assert f"finetune.batch_size={estimate.largest_batch}\n" in printed
    totals = [
        estimate_training(small, estimate.size, apply_changes(estimate.setup, {"batch_size": count})).memory.total
        for count in (estimate.largest_batch, estimate.largest_batch + 1)
    ]
    assert totals[0] <= estimate.device.memory < totals[1]
    hopeless = replace(estimate, device=replace(estimate.device, memory=GIB), largest_batch=0)
    assert estimate.fits and not hopeless.fits
    (advice,) = verdict(replace(hopeless, advice=estimate.switches[0]))
    assert "GiB; switch on finetune.gradient_checkpointing=true (saves " in advice
    (line,) = verdict(hopeless)
    assert line.startswith("does not fit in the 1.0 GiB of RTX-4090") and "lower data.num_frames" in line


def test_the_shipped_model_can_be_estimated() -> None:
    checkpoint, size = ROOT / "finetune" / "base", ClipSize.of(compose().data)
    setup = make_setup(fine_tune_settings(adapter="full"), "cpu", 1)
    assert estimate_training(checkpoint, size, setup).memory.parts["weights"] == pytest.approx(4 * 9.1e6, rel=0.05)


def test_a_size_that_the_model_does_not_take_is_one_line(small: Path) -> None:
    config = compose([f"model.checkpoint={small}", "data.num_frames=5"])
    wrong = replace(config, data=replace(config.data, height=104))
    with pytest.raises(UserError, match=r"clip blank has 5 frames of 160x104, the model takes 1 \+ 4k frames"):
        main(wrong, argparse.Namespace())


def test_sharding_divides_the_parts_of_the_weights(small: Path) -> None:
    size = ClipSize(num_frames=5, height=64, width=64, num_views=1, frame_rate=10.0)
    whole = make_setup(fine_tune_settings(adapter="full", batch_size=8), "cuda", 8)
    sharded = apply_changes(whole, {"parallel": "fsdp"})
    memory, divided = (estimate_training(small, size, setup).memory for setup in (whole, sharded))
    assert memory.parts["communication"] == memory.parts["weights"], "buckets of DDP"
    for part in ("weights", "gradients", "optimizer", "EMA"):
        assert divided.parts[part] == pytest.approx(memory.parts[part] / 8)
    weights = count_bytes(small, sharded)
    assert divided.parts["communication"] in (0, 3 * weights.block + weights.outside)


def test_lora_trains_few_weights(folder: Path) -> None:
    full, lora = (
        count_bytes(folder, make_setup(fine_tune_settings(adapter=kind), "cuda", 1)) for kind in ("full", "lora")
    )
    assert full.trained == full.all
    assert lora.all > full.all and lora.trained < 0.02 * lora.all


def test_switches_are_those_that_are_off() -> None:
    off = make_setup(fine_tune_settings(adapter="full", batch_size=8, precision="32"), "cuda", 4)
    names = [format_changes(changes) for changes in list_switches(off)]
    assert names == [
        "finetune.gradient_checkpointing=true",
        "finetune.parallel=fsdp",
        "finetune.batch_size=4 finetune.accumulate_grad_batches=2",
        "finetune.precision=bf16",
        "finetune.adapter=lora",
    ]
    changed = off
    for changes in list(list_switches(off)):
        changed = apply_changes(changed, changes)
    assert list(list_switches(changed)) == []


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(70, {"precision": "bf16"}), (45, {"gradient_checkpointing": True, "precision": "bf16"}), (20, None)],
)
def test_the_fewest_switches_are_advised(limit: float, expected: dict[str, Any] | None) -> None:
    setup = make_setup(fine_tune_settings(adapter="full", batch_size=1, precision="32"), "cuda", 1)
    saved = {"gradient_checkpointing": 20, "precision": 40, "adapter": 10}
    found = find_fitting(setup, lambda changes: 100 - sum(saved[name] for name in changes), limit)
    assert found == expected


def test_bisection() -> None:
    assert [bisect_most(lambda n, most=most: n <= most) for most in (0, 1, 7, 1000)] == [0, 1, 7, 1000]  # type: ignore[misc]


def test_a_fine_tune_that_cannot_fit_is_refused(small: Path) -> None:
    size, settings = ClipSize.of(compose(["data.num_frames=5"]).data), fine_tune_settings(batch_size=8, adapter="full")
    needed = estimate_training(small, size, make_setup(settings, "cuda", 1)).memory.total
    require_memory(small, size, settings, device="cuda", gpus=1, memory=0.9 * needed)
    with pytest.raises(UserError, match=r"needs about \d+\.\d GiB of each device, .*: set finetune\.\w+"):
        require_memory(small, size, settings, device="cuda", gpus=1, memory=0.85 * needed)
    with pytest.raises(UserError, match="use smaller clips or more GPUs"):
        require_memory(small, size, settings, device="cuda", gpus=1, memory=0.01 * needed)


def test_devices() -> None:
    settings = EstimateSettings(device="cuda", gpus=1, gpu="H100", utilization=0.45)
    cpu = find_device(replace(settings, device="cpu"))
    assert cpu.source == "measured" and cpu.matmul["32"] > 1e9 and cpu.memory > GIB
    if not torch.cuda.is_available():
        assert find_device(settings).memory == pytest.approx(79.1 * GIB)
        # Measured on an H100: 788 to 813 TFLOP/s.
        assert 780e12 < find_device(settings).matmul["bf16"] < 815e12
    assert measure_matmul("cpu", torch.float32) > 1e9


def test_a_folder_without_the_size_of_captions_is_one_line(folder: Path, tmp_path: Path) -> None:
    copied = write_configuration(tmp_path, Case(layers=2, heads=1, ffn=64, frames=5, height=32, width=32))
    (copied / "text_encoder" / "config.json").write_text(json.dumps({"model_type": "umt5"}))
    with pytest.raises(UserError, match=r"text_encoder/config\.json: d_model must be 1 to"):
        main(compose([f"model.checkpoint={copied}"]), argparse.Namespace())
