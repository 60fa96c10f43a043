"""Samples on disk, in segments that are written at once and then never changed.

A *location* is all that memory holds of a sample: the number of its segment times ``SEGMENT_SIZE``, plus its row there.
Numbers only rise while a folder is open, so a location never comes to mean another sample.
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
    """The segments of a folder, and the one that is still being gathered: it is lost unless it is written.

    Reading is by location. Segments go as they came, whole: first what is wanted of them is copied, then they are
    removed. Killed in between, the next opening finds some samples twice, under two locations.
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
        """Of those on disk, rising."""
        return tuple(self._numbers)

    @property
    def num_bytes(self) -> int:
        return sum(self._path(number).stat().st_size for number in self._numbers)

    @property
    def next_location(self) -> int:
        """Where the next sample that is added will lie."""
        return self._next * SEGMENT_SIZE + len(self._pending)

    @property
    def is_written(self) -> bool:
        return not self._pending

    @property
    def is_full(self) -> bool:
        """Whether the segment that is being gathered has to be written before anything is added."""
        return len(self._pending) == SEGMENT_SIZE

    def first(self) -> LatentSample | None:
        """Any sample of those on disk, None where there are none."""
        return self.read(self._numbers[0] * SEGMENT_SIZE) if self._numbers else None

    def read(self, location: int) -> LatentSample:
        number, row = divmod(location, SEGMENT_SIZE)
        return self._pending[row] if number == self._next else self._shards[_file_name(number)].sample(row)

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """Of all that lies on disk: its location, and what is told of it, in the order of the disk."""
        for number in self._numbers:
            for row, entry in enumerate(read_shard_header(self._path(number)).entries):
                yield number * SEGMENT_SIZE + row, entry

    def add(self, sample: LatentSample) -> None:
        assert not self.is_full
        self._pending.append(sample)

    def write(self) -> None:
        """Makes what was added outlast this process, as one segment."""
        if self._pending:
            write_shard(self._path(self._next), self._pending)
            self._numbers.append(self._next)
            self._next += 1
            self._pending = []

    def copy(self, numbers: Collection[int], locations: Locations) -> Callable[[Locations], Locations]:
        """Writes those of ``locations`` ``(n,)`` that lie in these segments into new ones, in the order of the disk.

        What is returned gives each of any locations ``(m,)`` its new one, and leaves alone what was not copied.
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
        # Opened anew, lest a map keep a file on disk that is gone from the folder.
        self._shards = OpenShards(self._folder)
        self._numbers = [number for number in self._numbers if number not in removed]
        for number in removed:
            self._path(number).unlink()

    def _path(self, number: int) -> Path:
        return self._folder / _file_name(number)


def _map_locations(locations: Locations, old: Locations, new: Locations) -> Locations:
    """``locations``, each that is in ``old`` (rising) replaced by its fellow in ``new``."""
    if not len(old):
        return locations
    at = np.minimum(np.searchsorted(old, locations), len(old) - 1)
    return np.where(old[at] == locations, new[at], locations)


def _file_name(number: int) -> str:
    return f"segment-{number:06d}.safetensors"
