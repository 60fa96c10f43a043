"""Samples per second of ``driveforge pretrain`` by the clock against its bare model, on whatever device there is.

``python -m tests.benchmarks.pretrain_speed pretrain=gpu pretrain.start=finetune/base pretrain.minutes=1``

The bare model repeats forward and backward on one resident batch. The command adds rendering, encoding, random numbers,
the optimizer, the average, the decoder's training and checkpoints; its rate is the median over the run's checks, after
the first.
"""

import argparse
import csv
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.train.pretrain import main as pretrain
from driveforge.pipelines.train.streaming.world_model import WorldModelTask

BARE_SECONDS = 15.0


def time_bare_model(config: Config, device: torch.device) -> float:
    """Samples per second of forward and backward, without the first two steps, which compile."""
    assert config.pretrain.start is not None, "give pretrain.start, so that no VAE has to be trained"
    task = WorldModelTask(TinyWorldModel.from_pretrained(config.pretrain.start), config.pretrain, device)
    for _ in range(2):
        task.warm_up(config.data.framing)
    _synchronize(device)
    start_time, steps = time.perf_counter(), 0
    while time.perf_counter() - start_time < BARE_SECONDS:
        task.warm_up(config.data.framing)
        _synchronize(device)
        steps += 1
    return steps * config.pretrain.batch_size / (time.perf_counter() - start_time)


def time_command(config: Config) -> float:
    """Median samples per second of the whole command."""
    pretrain(config, argparse.Namespace())
    rows = list(csv.DictReader((config.pretrain.out / "model" / "curve.csv").open()))
    return statistics.median(float(row["samples_per_s"]) for row in rows[1:] or rows)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        config = compose([*sys.argv[1:], f"pretrain.out={Path(folder) / 'pretrain'}"])
        bare = time_bare_model(config, device)
        command = time_command(config)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}: bare model {bare:.2f} samples/s, command {command:.2f} samples/s, ratio {command / bare:.2f}")


if __name__ == "__main__":
    main()
