"""Samples on disk in immutable segment files.

A *location* is all that is kept in memory for a sample: its segment number times ``SEGMENT_SIZE``, plus its row in the
segment. Segment numbers are not reused while a folder is open, so a location never refers to another sample.
"""

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.latents.shards import LatentSample, OpenShards, read_shard_header, write_shard

SEGMENT_SIZE = 64
_SEGMENT_NAME = re.compile(r"segment-(\d{6,})\.safetensors")
Entry = dict[str, Any]
Locations = NDArray[np.uint64]


class Segments:
    """The segments of a folder, and one pending segment in memory, which is lost unless it is written.

    Segments are deleted as a whole, after the samples to keep were copied to new segments. A kill in between leaves
    some samples at two locations.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found = (_SEGMENT_NAME.fullmatch(path.name) for path in folder.glob("segment-*.safetensors"))
        self._numbers = sorted(int(match[1]) for match in found if match)
        self._next = self._numbers[-1] + 1 if self._numbers else 0
        self._pending: list[LatentSample] = []
        self._shards = OpenShards(folder)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the segments on disk, in increasing order."""
        return tuple(self._numbers)

    @property
    def num_bytes(self) -> int:
        return sum(self._path(number).stat().st_size for number in self._numbers)

    @property
    def next_location(self) -> int:
        """The location of the next sample that is added."""
        return self._next * SEGMENT_SIZE + len(self._pending)

    @property
    def is_written(self) -> bool:
        return not self._pending

    @property
    def is_full(self) -> bool:
        """Whether the pending segment must be written before another sample is added."""
        return len(self._pending) == SEGMENT_SIZE

    def first(self) -> LatentSample | None:
        """The first sample on disk, None if there is none."""
        return self.read(self._numbers[0] * SEGMENT_SIZE) if self._numbers else None

    def read(self, location: int) -> LatentSample:
        number, row = divmod(location, SEGMENT_SIZE)
        return self._pending[row] if number == self._next else self._shards[_file_name(number)].sample(row)

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """The location and metadata of every sample on disk, dead ones included, in the order on disk."""
        for number in self._numbers:
            for row, entry in enumerate(read_shard_header(self._path(number)).entries):
                yield number * SEGMENT_SIZE + row, entry

    def add(self, sample: LatentSample) -> None:
        assert not self.is_full
        self._pending.append(sample)

    def write(self) -> None:
        """Write the pending samples to disk as one segment."""
        if self._pending:
            write_shard(self._path(self._next), self._pending)
            self._numbers.append(self._next)
            self._next += 1
            self._pending = []

    def copy(self, numbers: Collection[int], locations: Locations) -> Callable[[Locations], Locations]:
        """Copy the samples at ``locations`` ``(n,)`` in these segments to new segments, in the order on disk.

        Returns a function that maps locations ``(m,)`` to the new ones and does not change those not copied.
        """
        assert self.is_written
        old = np.sort(locations[np.isin(locations // SEGMENT_SIZE, list(numbers))]).astype(np.uint64)
        new = np.empty_like(old)
        for k, location in enumerate(old):
            new[k] = self.next_location
            self.add(self.read(int(location)))
            if self.is_full:
                self.write()
        self.write()
        return lambda locations: _map_locations(locations, old, new)

    def remove(self, numbers: Collection[int]) -> None:
        removed = set(numbers)
        # Reopened, since an open memory map would keep the deleted files on disk.
        self._shards = OpenShards(self._folder)
        self._numbers = [number for number in self._numbers if number not in removed]
        for number in removed:
            self._path(number).unlink()

    def _path(self, number: int) -> Path:
        return self._folder / _file_name(number)


def _map_locations(locations: Locations, old: Locations, new: Locations) -> Locations:
    """``locations``, with each element of ``old`` (increasing) replaced by the element of ``new`` at the same index."""
    if not len(old):
        return locations
    index = np.minimum(np.searchsorted(old, locations), len(old) - 1)
    return np.where(old[index] == locations, new[index], locations)


def _file_name(number: int) -> str:
    return f"segment-{number:06d}.safetensors"
