"""The order in which samples of a pool are drawn."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Selection(Protocol):
    """A pure function of its arguments, so that all ranks, workers and resumed runs draw the same samples."""

    def index(self, *, pool: str, size: int, number: int, seed: int) -> int:
        """The index (below ``size``) of the ``number``-th sample drawn from ``pool``, counted from 0."""
        ...


@dataclass(frozen=True, slots=True)
class RandomSelection:
    """Uniform without replacement: every pass over the pool is a new permutation.

    For replay of diffusion models, better than selection by similarity (arXiv 2509.10529).
    """

    def index(self, *, pool: str, size: int, number: int, seed: int) -> int:
        epoch, position = divmod(number, size)
        return int(_permutation(seed, pool, epoch, size)[position])


def counter_generator(seed: int, stream: str, counter: int) -> np.random.Generator:
    """A generator that depends only on its arguments: Philox (Salmon et al., SC 2011) jumps to any counter in O(1)."""
    identity = f"{seed}/{stream}".encode()
    key = np.frombuffer(hashlib.blake2b(identity, digest_size=16).digest(), dtype="<u8").astype(np.uint64)
    # The counter goes into the highest word. Drawing increments the lowest, so the streams never overlap.
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, counter], dtype=np.uint64)))


@lru_cache(maxsize=32)
def _permutation(seed: int, pool: str, epoch: int, size: int) -> NDArray[np.int64]:
    return counter_generator(seed, pool, epoch).permutation(size)
