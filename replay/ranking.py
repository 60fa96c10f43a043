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
_RECENT = 2048


def priority_of(seed: int, domain: str, clip_id: str) -> int:
    """A number below 2**64 that is as good as random and always the same."""
    identity = json.dumps([seed, domain, clip_id]).encode()
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "big")


class _Sorted:
    """Priorities, rising, each with its location."""

    def __init__(self) -> None:
        self.priorities = array("Q")
        self.locations = array("Q")

    def __len__(self) -> int:
        return len(self.priorities)

    def find(self, priority: int) -> int | None:
        at = bisect_left(self.priorities, priority)
        return at if at < len(self) and self.priorities[at] == priority else None

    def insert(self, priority: int, location: int) -> None:
        at = bisect_left(self.priorities, priority)
        self.priorities.insert(at, priority)
        self.locations.insert(at, location)

    def pop(self) -> None:
        self.priorities.pop()
        self.locations.pop()


class Ranking:
    """The samples of one domain by rising priority, each with its location: 16 bytes a sample."""

    def __init__(self) -> None:
        self._merged, self._recent = _Sorted(), _Sorted()

    def __len__(self) -> int:
        return len(self._merged) + len(self._recent)

    @property
    def priorities(self) -> "array[int]":
        return self._whole().priorities

    @property
    def locations(self) -> "array[int]":
        return self._whole().locations

    def holds(self, priority: int) -> bool:
        return self.location_of(priority) is not None

    def location_of(self, priority: int) -> int | None:
        """Where the sample lies that has this priority; None where none has."""
        for part in (self._merged, self._recent):
            if (at := part.find(priority)) is not None:
                return part.locations[at]
        return None

    def admit(self, priority: int, location: int, quota: int) -> bool:
        """Takes a sample in, dropping the last beyond the quota; False where it is there already or ranks too low."""
        parts = (self._merged, self._recent)
        rank = sum(bisect_left(part.priorities, priority) for part in parts)
        if rank >= quota or self.holds(priority):
            return False
        self._recent.insert(priority, location)
        if len(self._recent) > _RECENT:
            self._whole()
        self.trim(quota)
        return True

    def extend(self, other: "Ranking") -> None:
        """Takes in all of another ranking; for one that is empty."""
        self._merged.priorities, self._merged.locations = other.priorities[:], other.locations[:]

    def trim(self, quota: int) -> None:
        """Drops the last until ``quota`` are left."""
        if len(self) - quota > _RECENT:
            whole = self._whole()
            del whole.priorities[quota:], whole.locations[quota:]
        while len(self) > quota:
            parts = [part for part in (self._merged, self._recent) if len(part)]
            max(parts, key=lambda part: part.priorities[-1]).pop()

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Drops those of which ``chosen`` ``(n,)``, in the order of rank, is False."""
        whole = self._whole()
        for name in ("priorities", "locations"):
            setattr(whole, name, _packed(_view(getattr(whole, name))[chosen]))

    def move(self, moved: Callable[[NDArray[np.uint64]], NDArray[np.uint64]]) -> None:
        """Gives every sample the location that ``moved`` makes of the old ones ``(n,)``."""
        whole = self._whole()
        whole.locations = _packed(moved(_view(whole.locations)))

    def _whole(self) -> _Sorted:
        if len(self._recent):
            merged, recent = self._merged, self._recent
            at = np.searchsorted(_view(merged.priorities), _view(recent.priorities))
            for name in ("priorities", "locations"):
                setattr(
                    merged, name, _packed(np.insert(_view(getattr(merged, name)), at, _view(getattr(recent, name))))
                )
            self._recent = _Sorted()
        return self._merged


def _view(numbers: "array[int]") -> NDArray[np.uint64]:
    return np.frombuffer(numbers, np.uint64) if len(numbers) else np.empty(0, np.uint64)


def _packed(numbers: NDArray[np.uint64]) -> "array[int]":
    return array("Q", numbers.astype(np.uint64).tobytes())
