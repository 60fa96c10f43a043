"""Reservoir sampling that does not depend on the order of the stream.

Every sample has a priority, a keyed hash of its domain and clip id, and a domain keeps the samples with the lowest
priorities, up to its quota: a uniform random subset of everything that was added (bottom-k sampling, Cohen and Kaplan,
PODC 2007; for one pass over a stream it is the reservoir sampling of Vitter, 1985).
"""

import hashlib
import json
from array import array
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def compute_priority(seed: int, domain: str, clip_id: str) -> int:
    """A pseudo-random number below 2**64 that depends only on the arguments."""
    identity = json.dumps([seed, domain, clip_id]).encode()
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "big")


class Ranking:
    """The samples of one domain in order of increasing priority, with their locations: 16 bytes per sample.

    Two parallel arrays, since a sorted list or a dict of Python integers takes 130 bytes per sample. An insertion moves
    the entries after it: 7 us on average while 100,000 samples are added, less than writing the sample takes.
    """

    def __init__(self) -> None:
        self.priorities = array("Q")
        self.locations = array("Q")

    def __len__(self) -> int:
        return len(self.priorities)

    def contains(self, priority: int) -> bool:
        return self.find_location(priority) is not None

    def find_location(self, priority: int) -> int | None:
        """The location of the sample with this priority, None if there is none."""
        rank = bisect_left(self.priorities, priority)
        return self.locations[rank] if self._is_at(rank, priority) else None

    def insert(self, priority: int, location: int, quota: int) -> bool:
        """Insert a sample and drop the last one beyond ``quota``; False if it is a duplicate or ranks too low."""
        # The rank counts the samples with a lower priority. If they fill the quota, the new one would be dropped.
        rank = bisect_left(self.priorities, priority)
        if rank >= quota or self._is_at(rank, priority):
            return False
        self.priorities.insert(rank, priority)
        self.locations.insert(rank, location)
        self.trim(quota)
        return True

    def copy(self) -> "Ranking":
        duplicate = Ranking()
        duplicate.priorities, duplicate.locations = self.priorities[:], self.locations[:]
        return duplicate

    def trim(self, quota: int) -> None:
        """Drop the samples with the highest priorities until ``quota`` are left."""
        del self.priorities[quota:], self.locations[quota:]

    def retain(self, is_retained: NDArray[np.bool_]) -> None:
        """Drop the samples for which ``is_retained`` ``(n,)``, in order of rank, is False."""
        self.priorities = _to_array(_to_numpy(self.priorities)[is_retained])
        self.locations = _to_array(_to_numpy(self.locations)[is_retained])

    def relocate(self, new_locations: Callable[[NDArray[np.uint64]], NDArray[np.uint64]]) -> None:
        """Replace the locations ``(n,)`` by ``new_locations`` of them."""
        self.locations = _to_array(new_locations(_to_numpy(self.locations)))

    def _is_at(self, rank: int, priority: int) -> bool:
        return rank < len(self.priorities) and self.priorities[rank] == priority


def _to_numpy(numbers: "array[int]") -> NDArray[np.uint64]:
    return np.array(numbers, np.uint64)


def _to_array(numbers: NDArray[np.uint64]) -> "array[int]":
    return array("Q", numbers.astype(np.uint64).tobytes())
