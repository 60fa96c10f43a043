"""Reservoir sampling that forgets the order of the stream.

Every sample has a priority, a keyed hash of its domain and clip id, and a domain keeps those of lowest priority within
its quota: a uniform random subset of all that was offered (bottom-k sampling, Cohen and Kaplan, PODC 2007; for one pass
over a stream it is the reservoir sampling of Vitter, 1985).
"""

import hashlib
import json
from array import array
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# New samples wait in a short list before they are merged into the long one: an insertion into an array of a million
# moves megabytes.
_MAX_PENDING = 2048


def compute_priority(seed: int, domain: str, clip_id: str) -> int:
    """A number below 2**64 that is as good as random and always the same."""
    identity = json.dumps([seed, domain, clip_id]).encode()
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "big")


class _SortedArrays:
    """Priorities, rising, each with its location."""

    def __init__(self) -> None:
        self.priorities = array("Q")
        self.locations = array("Q")

    def __len__(self) -> int:
        return len(self.priorities)

    def find(self, priority: int) -> int | None:
        index = bisect_left(self.priorities, priority)
        return index if index < len(self) and self.priorities[index] == priority else None

    def insert(self, priority: int, location: int) -> None:
        index = bisect_left(self.priorities, priority)
        self.priorities.insert(index, priority)
        self.locations.insert(index, location)

    def pop(self) -> None:
        self.priorities.pop()
        self.locations.pop()


class Ranking:
    """The samples of one domain by rising priority, each with its location: 16 bytes a sample."""

    def __init__(self) -> None:
        self._merged, self._pending = _SortedArrays(), _SortedArrays()

    def __len__(self) -> int:
        return len(self._merged) + len(self._pending)

    @property
    def priorities(self) -> "array[int]":
        return self._merge_pending().priorities

    @property
    def locations(self) -> "array[int]":
        return self._merge_pending().locations

    def contains(self, priority: int) -> bool:
        return self.find_location(priority) is not None

    def find_location(self, priority: int) -> int | None:
        """Where the sample lies that has this priority; None where none has."""
        for part in (self._merged, self._pending):
            if (index := part.find(priority)) is not None:
                return part.locations[index]
        return None

    def insert(self, priority: int, location: int, quota: int) -> bool:
        """Takes a sample in, dropping the last beyond the quota; False where it is there already or ranks too low."""
        parts = (self._merged, self._pending)
        rank = sum(bisect_left(part.priorities, priority) for part in parts)
        if rank >= quota or self.contains(priority):
            return False
        self._pending.insert(priority, location)
        if len(self._pending) > _MAX_PENDING:
            self._merge_pending()
        self.trim(quota)
        return True

    def copy_from(self, other: "Ranking") -> None:
        """Takes in all of another ranking; for one that is empty."""
        self._merged.priorities, self._merged.locations = other.priorities[:], other.locations[:]

    def trim(self, quota: int) -> None:
        """Drops the last until ``quota`` are left."""
        if len(self) - quota > _MAX_PENDING:
            arrays = self._merge_pending()
            del arrays.priorities[quota:], arrays.locations[quota:]
        while len(self) > quota:
            parts = [part for part in (self._merged, self._pending) if len(part)]
            max(parts, key=lambda part: part.priorities[-1]).pop()

    def retain(self, chosen: NDArray[np.bool_]) -> None:
        """Drops those of which ``chosen`` ``(n,)``, in the order of rank, is False."""
        arrays = self._merge_pending()
        for name in ("priorities", "locations"):
            setattr(arrays, name, _to_array(_as_numpy(getattr(arrays, name))[chosen]))

    def relocate(self, new_locations: Callable[[NDArray[np.uint64]], NDArray[np.uint64]]) -> None:
        """Gives every sample the location that ``new_locations`` makes of the old ones ``(n,)``."""
        arrays = self._merge_pending()
        arrays.locations = _to_array(new_locations(_as_numpy(arrays.locations)))

    def _merge_pending(self) -> _SortedArrays:
        if len(self._pending):
            merged, pending = self._merged, self._pending
            index = np.searchsorted(_as_numpy(merged.priorities), _as_numpy(pending.priorities))
            for name in ("priorities", "locations"):
                setattr(
                    merged,
                    name,
                    _to_array(np.insert(_as_numpy(getattr(merged, name)), index, _as_numpy(getattr(pending, name)))),
                )
            self._pending = _SortedArrays()
        return self._merged


def _as_numpy(numbers: "array[int]") -> NDArray[np.uint64]:
    return np.frombuffer(numbers, np.uint64) if len(numbers) else np.empty(0, np.uint64)


def _to_array(numbers: NDArray[np.uint64]) -> "array[int]":
    return array("Q", numbers.astype(np.uint64).tobytes())
