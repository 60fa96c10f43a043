"""Which samples of a pool are drawn, and in which order."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Selection(Protocol):
    """A policy: a pure function of its arguments, so that every rank, worker and resumed run chooses alike."""

    def index(self, *, pool: str, size: int, number: int, seed: int) -> int:
        """The sample (below ``size``) that the ``number``-th draw from ``pool`` takes, draws counted from 0."""
        ...


@dataclass(frozen=True, slots=True)
class RandomSelection:
    """Uniform and without replacement: each pass over the pool is a new permutation, and none repeats before its end.

    Random beats selection by similarity for the replay of diffusion models (arXiv 2509.10529).
    """

    def index(self, *, pool: str, size: int, number: int, seed: int) -> int:
        epoch, position = divmod(number, size)
        return int(_permutation(seed, pool, epoch, size)[position])


def counter_generator(seed: int, stream: str, counter: int) -> np.random.Generator:
    """Random numbers of (seed, stream, counter) alone: Philox (Salmon et al., SC 2011) takes any counter at no cost."""
    identity = f"{seed}/{stream}".encode()
    key = np.frombuffer(hashlib.blake2b(identity, digest_size=16).digest(), dtype="<u8").astype(np.uint64)
    # The counter goes into the highest word: drawing counts up in the lowest, so no two counters ever meet.
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, counter], dtype=np.uint64)))


@lru_cache(maxsize=32)
def _permutation(seed: int, pool: str, epoch: int, size: int) -> NDArray[np.int64]:
    return counter_generator(seed, pool, epoch).permutation(size)
