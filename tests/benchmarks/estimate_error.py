"""Estimated against measured memory of fine-tunes on the CPU: ``python -m tests.benchmarks.estimate_error``.

Every row is a fresh process that trains two steps with Lightning, with genuine classes and random weights. Measured is
its peak resident memory, less that after a much smaller fine-tune in the same process, which has loaded all libraries.
Every tensor of 64 kB and more is a mapping of its own, so that freed tensors leave the process.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from rich.console import Console
from rich.table import Table

from driveforge.finetune.training.loop import train
from driveforge.finetune.training.module import WorldModelModule
from driveforge.finetune.world_model.families.registry import load_on_meta
from driveforge.pipelines.train.estimate.fake_model import ClipSize, blank_batch, blank_clip, materialize
from driveforge.pipelines.train.estimate.plan import count_bytes, estimate_training
from driveforge.pipelines.train.estimate.step import Setup, make_trainable
from driveforge.pipelines.train.estimate.switches import make_setup
from driveforge.replay.dataset import Batch
from tests.defaults import fine_tune_settings

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Case:
    """A Wan 2.1 transformer of ``layers`` layers and ``heads`` heads of 128, and a fine-tune of it."""

    layers: int
    heads: int
    ffn: int
    frames: int
    height: int
    width: int
    adapter: str = "full"
    precision: str = "32"
    batch_size: int = 1
    accumulate: int = 1
    checkpointing: bool = False


CASES = (
    Case(layers=6, heads=4, ffn=2048, frames=17, height=128, width=224, batch_size=2),
    Case(layers=6, heads=4, ffn=2048, frames=17, height=128, width=224, batch_size=2, checkpointing=True),
    Case(layers=8, heads=6, ffn=3072, frames=17, height=128, width=224, precision="bf16"),
    Case(
        layers=8,
        heads=6,
        ffn=3072,
        frames=33,
        height=192,
        width=320,
        precision="bf16",
        checkpointing=True,
        accumulate=2,
    ),
    Case(layers=10, heads=8, ffn=4096, frames=17, height=128, width=224, adapter="lora", precision="bf16"),
    Case(layers=12, heads=8, ffn=4096, frames=33, height=192, width=320, adapter="lora", checkpointing=True),
    Case(layers=14, heads=8, ffn=4096, frames=5, height=64, width=96),
)
TINY = Case(layers=1, heads=1, ffn=512, frames=5, height=32, width=32)


def write_configuration(folder: Path, case: Case) -> Path:
    """The configuration files of a Wan 2.1 pipeline of the size of ``case``, without weights."""
    with torch.device("meta"):
        sizes = {"num_layers": case.layers, "num_attention_heads": case.heads, "ffn_dim": case.ffn}
        WanTransformer3DModel(**sizes).save_config(folder / "transformer")
        AutoencoderKLWan().save_config(folder / "vae")
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "text_encoder").mkdir(exist_ok=True)
    (folder / "text_encoder" / "config.json").write_text(json.dumps({"model_type": "umt5", "d_model": 4096}))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    return folder


def clip_size(case: Case) -> ClipSize:
    return ClipSize(num_frames=case.frames, height=case.height, width=case.width, num_views=1, frame_rate=16.0)


def make_case_setup(case: Case) -> Setup:
    settings = fine_tune_settings(
        steps=2,
        batch_size=case.batch_size,
        accumulate_grad_batches=case.accumulate,
        adapter=case.adapter,
        precision=case.precision,
        checkpoint_every=1000,
        learning_rate=1e-5,
        strategy="naive",
    )
    return replace(make_setup(settings, "cpu", 1), gradient_checkpointing=case.checkpointing)


def fine_tune(folder: Path, case: Case, setup: Setup, on_batch: Callable[[], None] = lambda: None) -> None:
    """Train from random weights; ``on_batch`` is called before each batch and at the end."""
    model = load_on_meta(folder)
    clip = blank_clip(model, clip_size(case))
    make_trainable(model, setup)
    with torch.device(torch.accelerator.current_accelerator() or "cpu"):
        materialize(model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    for buffer in model.buffers():
        buffer.zero_()

    def batches(start: int, rank: int, world_size: int) -> Iterator[Batch]:
        for _ in range(start, setup.settings.num_batches):
            on_batch()
            yield blank_batch(clip, torch.arange(case.batch_size))
        on_batch()

    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
        train(WorldModelModule(model, setup.settings), batches, Path(root))


def measure(folder: Path, case: Case) -> float:
    """Peak resident bytes of ``fine_tune`` in this process, above those after a tiny one."""
    with tempfile.TemporaryDirectory() as tiny:
        fine_tune(write_configuration(Path(tiny), TINY), TINY, make_case_setup(TINY))
    before = psutil.Process().memory_info().rss
    fine_tune(folder, case, make_case_setup(case))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def run_case(folder: Path, number: int) -> float:
    """``measure`` in a fresh process."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.estimate_error",
        "--measure",
        str(number),
        "--folder",
        str(folder),
    ]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    return float(result.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=list(range(len(CASES))), help="numbers of the rows")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(measure(options.folder, CASES[options.measure]))
        return
    table = Table("M weights", "frames", "fine-tune", "estimate, MiB", "measured, MiB", "error")
    for number in options.cases:
        case, setup = CASES[number], make_case_setup(CASES[number])
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = write_configuration(Path(folder), case)
            estimated = estimate_training(checkpoint, clip_size(case), setup).memory.total
            measured = run_case(checkpoint, number)
            weights = count_bytes(checkpoint, setup).all / 4e6
        words = [case.adapter, case.precision, f"batch {case.batch_size} x {case.accumulate}"]
        words += ["checkpointing"] if case.checkpointing else []
        table.add_row(
            f"{weights:.0f}",
            f"{case.frames} x {case.height} x {case.width}",
            ", ".join(words),
            f"{estimated / MIB:.0f}",
            f"{measured / MIB:.0f}",
            f"{estimated / measured - 1:+.1%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
