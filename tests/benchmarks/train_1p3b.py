"""Speed and memory of training Wan 1.3B on one GPU: ``python -m tests.benchmarks.train_1p3b``, about a minute.

Random weights, 49 frames of 480 x 832, all weights trained, bf16, gradient checkpointing; beside it a matmul of the
same call and the estimate of memory. Without a GPU, or with ``--small``, a small model on small clips.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
import torch

from driveforge.finetune.world_model.codec import count_latent_frames
from driveforge.pipelines.train.estimate.devices import GIB, measure_matmul
from driveforge.pipelines.train.estimate.plan import CUDA_BYTES, estimate_training
from tests.benchmarks.estimate_error import Case, clip_size, fine_tune, make_case_setup, write_configuration

LARGE = Case(layers=30, heads=12, ffn=8960, frames=49, height=480, width=832, precision="bf16", checkpointing=True)
SMALL = replace(LARGE, layers=2, heads=1, ffn=256, frames=9, height=64, width=96)
# The first steps fill the optimizer's state and choose kernels.
WARM_UP_STEPS = 2


def measure_steps(folder: Path, case: Case, steps: int) -> tuple[float, float]:
    """Median seconds of a step, and peak bytes: allocated on the GPU, or resident above the start on the CPU."""
    setup = make_case_setup(case)
    setup = replace(setup, settings=replace(setup.settings, steps=WARM_UP_STEPS + steps))
    times: list[float] = []

    def on_batch() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    before = psutil.Process().memory_info().rss
    fine_tune(folder, case, setup, on_batch)
    seconds = statistics.median(end - start for start, end in list(pairwise(times))[WARM_UP_STEPS:])
    if torch.cuda.is_available():
        return seconds, torch.cuda.max_memory_allocated()
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small model, also on a GPU")
    parser.add_argument("--steps", type=int, default=4, help="steps that are timed")
    options = parser.parse_args(argv)
    has_gpu = torch.cuda.is_available()
    device, case = "cuda" if has_gpu else "cpu", LARGE if has_gpu and not options.small else SMALL
    matmul = measure_matmul(device, torch.bfloat16)
    with tempfile.TemporaryDirectory() as name:
        folder = write_configuration(Path(name), case)
        setup = replace(make_case_setup(case), device="cuda" if has_gpu else "cpu")
        estimate = estimate_training(folder, clip_size(case), setup)
        seconds, peak = measure_steps(folder, case, options.steps)
    tokens = count_latent_frames(case.frames, 4) * (case.height // 16) * (case.width // 16)
    estimated = estimate.memory.total - (CUDA_BYTES if has_gpu else 0)
    rate = estimate.flops / seconds
    print(f"{torch.cuda.get_device_name() if has_gpu else 'CPU'}: a matmul reaches {matmul / 1e12:.3g} TFLOP/s in bf16")
    print(f"{seconds:.3f} s a step of {tokens} tokens: {tokens / seconds:.0f} tokens/s")
    print(f"{rate / 1e12:.3g} TFLOP/s with recomputation: {rate / matmul:.0%} of the matmul")
    print(f"peak {peak / GIB:.2f} GiB, estimate {estimated / GIB:.2f} GiB: {estimated / peak - 1:+.1%}")


if __name__ == "__main__":
    main()
