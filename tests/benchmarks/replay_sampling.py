"""Replayed samples per second, in collated batches: our buffer on disk against those of Avalanche and Mammoth.

    AVALANCHE_PATH=DIR python -m tests.benchmarks.replay_sampling

``DIR`` is the target of ``pip install --no-deps --target DIR avalanche-lib dill``; without it Avalanche is not timed.
All buffers hold the same latents and serve random batches in the training process. Ours follows a plan with share 1
through torch's DataLoader; Avalanche's reservoir uses the DataLoader too. It keeps references into its source data
sets, so it is timed with tensors in memory and with one safetensors file per clip. Mammoth's buffer keeps arrays in
memory and has no loader. A plain copy of the same number of bytes is an upper bound for buffers that return new
batches.

Times are CPU seconds with a warm page cache. Rounds alternate, and medians are printed.
"""

import argparse
import importlib.abc
import importlib.machinery
import itertools
import os
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset

from driveforge.datasets.domains import OTHER_DOMAINS
from driveforge.datasets.latents.cache import LatentSample
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import plan_loader
from driveforge.replay.plan import BatchPlan

EXPERIENCES = 8
OURS = "driveforge, on disk"
Tensors = dict[str, torch.Tensor]
# Imported by Avalanche, but not called by the timed code.
STAND_INS = (
    "torchvision",
    "gdown",
    "qpsolvers",
    "wandb",
    "GPUtil",
    "gputil",
    "quadprog",
    "pytorchcv",
    "higher",
    "pycocotools",
)


def latents(count: int, grid: tuple[int, int, int]) -> list[LatentSample]:
    """Random samples with 16 channels of latents, layout and first frames, and 6 of rays."""
    generator = torch.Generator().manual_seed(0)
    channels = {"latents": 16, "layout": 16, "first_frames": 16, "rays": 6}
    return [
        LatentSample(
            clip_id=f"clip-{n:06d}",
            domain=OTHER_DOMAINS[n % len(OTHER_DOMAINS)],
            caption="",
            tensors={name: torch.randn(c, *grid, generator=generator) for name, c in channels.items()},
        )
        for n in range(count)
    ]


def our_batches(samples: Sequence[LatentSample], root: Path, batch_size: int) -> Callable[[int], Iterable[Any]]:
    with ReplayBuffer(root, len(samples)) as buffer:
        for sample in samples:
            buffer.add(sample)
    plan = BatchPlan(seed=0, batch_size=batch_size, share=1.0, pools=buffer.sizes, num_driving=0)
    return lambda batches: plan_loader(plan, _NoSamples(), buffer, start=0, stop=batches)


def avalanche_batches(experiences: Sequence[Dataset[Tensors]], batch_size: int) -> Callable[[int], Iterable[Any]]:
    """Avalanche's buffer, filled experience by experience, with room for all samples."""
    from avalanche.benchmarks.utils import AvalancheDataset  # type: ignore[import-not-found]
    from avalanche.training.storage_policy import ReservoirSamplingBuffer  # type: ignore[import-not-found]

    buffer = ReservoirSamplingBuffer(sum(len(experience) for experience in experiences))  # type: ignore[arg-type]
    for experience in experiences:
        buffer.update_from_dataset(AvalancheDataset([experience]))

    def batches(count: int) -> Iterable[Any]:
        endless = itertools.chain.from_iterable(
            DataLoader(buffer.buffer, batch_size=batch_size, shuffle=True, drop_last=True) for _ in itertools.count()
        )
        return itertools.islice(endless, count)

    return batches


class MammothBuffer:
    """A reimplementation of Mammoth's ``Buffer.get_data``, which is not packaged.

    github.com/aimagelab/mammoth, ``utils/buffer.py`` at 0d727a7: the first tensor is gathered, transformed sample by
    sample (here without a transform) and stacked; the others are gathered.
    """

    def __init__(self, samples: Sequence[LatentSample]) -> None:
        names = samples[0].tensors
        self._arrays = [torch.stack([sample.tensors[name] for sample in samples]) for name in names]

    def batches(self, count: int, batch_size: int) -> Iterator[tuple[torch.Tensor, ...]]:
        examples, *others = self._arrays
        for _ in range(count):
            choice = np.random.choice(len(examples), size=batch_size, replace=False)
            stacked = torch.stack([example.cpu() for example in examples[choice]])
            yield stacked, *(array[choice] for array in others)


def copied_batches(samples: Sequence[LatentSample], count: int, batch_size: int) -> Iterator[Any]:
    """Random samples copied into one reused batch."""
    arrays = [np.stack([sample.tensors[name].numpy() for sample in samples]) for name in samples[0].tensors]
    batch = [np.empty((batch_size, *array.shape[1:]), array.dtype) for array in arrays]
    for rows in np.random.default_rng(0).integers(len(samples), size=(count, batch_size)).tolist():
        for array, target in zip(arrays, batch, strict=True):
            for place, row in enumerate(rows):
                target[place] = array[row]
        yield batch


class _NoSamples:
    def __len__(self) -> int:
        return 0

    def sample(self, i: int, /) -> LatentSample:
        raise IndexError(i)


class _InMemory(Dataset[Tensors]):
    def __init__(self, samples: Sequence[LatentSample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, i: int) -> Tensors:
        return self._samples[i].tensors


class _OnDisk(Dataset[Tensors]):
    def __init__(self, samples: Sequence[LatentSample], folder: Path) -> None:
        self._paths = [folder / f"{sample.clip_id}.safetensors" for sample in samples]
        for path, sample in zip(self._paths, samples, strict=True):
            save_file(sample.tensors, path)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: int) -> Tensors:
        return load_file(self._paths[i])


class _StandIn(types.ModuleType):
    """A module that has every name, each a class that does nothing."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda *_, **__: None, "__call__": lambda *_, **__: None})


class _StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name.split(".")[0] in STAND_INS else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def _provide_stand_ins() -> None:
    # Last in the list, so that installed packages are used.
    sys.meta_path.append(_StandInFinder())
    sys.modules.setdefault("torch.utils.tensorboard", _StandIn("torch.utils.tensorboard"))
    sys.path.insert(0, os.environ["AVALANCHE_PATH"])


def samples_per_second(batches: Iterable[Any], batch_size: int, count: int) -> float:
    iterator = iter(batches)
    next(iterator)
    start = time.process_time()
    num_batches = sum(1 for _ in iterator)
    assert num_batches == count - 1
    return num_batches * batch_size / (time.process_time() - start)


def compare(samples: Sequence[LatentSample], batch_size: int, batches: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        mammoth = MammothBuffer(samples)
        sides: dict[str, Callable[[int], Iterable[Any]]] = {
            OURS: our_batches(samples, Path(folder, "buffer"), batch_size),
            "plain copy, in memory": lambda count: copied_batches(samples, count, batch_size),
            "mammoth, in memory": lambda count: mammoth.batches(count, batch_size),
        }
        if "AVALANCHE_PATH" in os.environ:
            parts = [samples[first::EXPERIENCES] for first in range(EXPERIENCES)]
            sides["avalanche, in memory"] = avalanche_batches([_InMemory(part) for part in parts], batch_size)
            on_disk = [_OnDisk(part, Path(folder)) for part in parts]
            sides["avalanche, files on disk"] = avalanche_batches(on_disk, batch_size)
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for make in sides.values():
            samples_per_second(make(batches), batch_size, batches)
        for _ in range(rounds):
            for name, make in sides.items():
                speeds[name].append(samples_per_second(make(batches), batch_size, batches))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    num_bytes = sum(tensor.nbytes for tensor in samples[0].tensors.values())
    print(f"\n{len(samples)} samples of {num_bytes / 1000:.0f} kB, batches of {batch_size}, median of {rounds} rounds")
    for name, speed in medians.items():
        spread = f"{min(speeds[name]):,.0f} to {max(speeds[name]):,.0f}"
        print(f"  {name:25} {speed:9,.0f} samples/s  ({spread});  ours / this: {medians[OURS] / speed:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seen", type=int, default=1600, help="samples per round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if "AVALANCHE_PATH" in os.environ:
        _provide_stand_ins()
    else:
        print("AVALANCHE_PATH is not set: Avalanche is not timed")
    torch.set_num_threads(1)
    for grid in ((5, 12, 20), (3, 2, 2)):
        samples = latents(options.samples, grid)
        for batch_size in options.batch_sizes:
            compare(samples, batch_size, options.seen // batch_size, options.rounds)


if __name__ == "__main__":
    main()
