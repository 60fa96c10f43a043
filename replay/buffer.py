"""The cross-domain replay buffer: a domain-balanced reservoir of latents on disk.

``replay.ranking`` decides which samples stay, and its choice depends on *which* samples were added, not on their order.
So adding a stream twice, in another order, or again after a crash gives the same content. Under a retention policy
other than random (``replay.retention``), a domain grows to twice its quota before it is pruned.
"""

import hashlib
import json
import math
import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import make_folder
from driveforge.datasets.latents.shards import LatentSample, check_storable
from driveforge.replay.ranking import Ranking, compute_priority
from driveforge.replay.retention import RETENTION_POLICIES, Features, RunningMean
from driveforge.replay.segments import SEGMENT_SIZE, Entry, Segments
from driveforge.replay.settings import BufferSettings, read_settings, write_or_check_settings

_NO_LOCATIONS = np.empty(0, np.uint64)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayBufferStats:
    """``samples`` and ``quotas`` are by domain; ``num_bytes`` is the size on disk, including evicted samples."""

    capacity: int
    samples: dict[str, int]
    quotas: dict[str, int]
    num_bytes: int


class ReplayBuffer:
    """At most ``capacity`` samples, divided among the domains (``BufferSettings.allocate_quotas``).

    The set of live samples is recomputed from the files on disk, so a crash leaves the content of the last ``flush``,
    and memory holds 16 bytes per sample. A flush happens every 64 accepted samples, before reading, and at the end of a
    ``with`` block. Only one process may write at a time.

    Raises UserError if the buffer on disk was created with other settings. ``running_means``, by domain, are stored by
    the caller (``replay.persistent``).
    """

    def __init__(
        self,
        root: Path,
        capacity: int,
        *,
        seed: int = 0,
        key: str = "",
        quotas: Mapping[str, int] | None = None,
        retention: str = "random",
    ) -> None:
        self.root = Path(root)
        self.settings = BufferSettings(capacity=capacity, seed=seed, key=key, quotas=quotas or {}, retention=retention)
        make_folder(self.root)
        write_or_check_settings(self.root, self.settings)
        self.running_means: dict[str, RunningMean] = {}
        self._policy = RETENTION_POLICIES[retention]
        self._rankings: dict[str, Ranking] = {}
        self._quotas: dict[str, int] = {}
        self._digest: str | None = None
        self._segments = Segments(self.root)
        for location, entry in self._segments.entries():
            self._insert(entry["domain"], entry["clip_id"], location)
        first = self._segments.first()
        self._tensor_specs = None if first is None else first.tensor_specs

    @classmethod
    def open(cls, root: Path) -> Self:
        """An existing buffer with its own settings. Raises UserError if there is none."""
        found = read_settings(Path(root))
        return cls(root, found.capacity, seed=found.seed, key=found.key, quotas=found.quotas, retention=found.retention)

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted(self._rankings))

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples by domain, domains in alphabetical order."""
        return {domain: len(self._rankings[domain]) for domain in self.domains}

    def __len__(self) -> int:
        return sum(len(ranking) for ranking in self._rankings.values())

    def add(self, sample: LatentSample) -> bool:
        """Add a sample; whether the buffer now holds it. Later samples or a new domain may evict it."""
        check_storable(sample, self._tensor_specs)
        self._require_quota(sample.domain)
        is_present = self.contains(sample.domain, sample.clip_id)
        features = self._policy.extract_features(sample)
        if is_present or not self._insert(sample.domain, sample.clip_id, self._segments.next_location):
            return is_present
        self._tensor_specs = sample.tensor_specs
        if not self._policy.is_hash_based:
            known = self.running_means.get(sample.domain, RunningMean(count=0, total=np.zeros_like(features)))
            self.running_means[sample.domain] = known.add(features)
        self._segments.add(sample)
        if self._segments.is_full:
            self.flush()
        return True

    def would_accept(self, names: Iterable[tuple[str, str]]) -> list[bool]:
        """For each (domain, clip id), whether it is new and would be in the buffer after all of them were added."""
        named = list(names)
        if not self._policy.is_hash_based:
            return [not self.contains(*name) for name in named]
        shares = self.settings.allocate_quotas({*self._rankings, *(domain for domain, _ in named)})
        trials = {domain: Ranking() for domain in shares}
        trials |= {domain: ranking.copy() for domain, ranking in self._rankings.items()}
        priorities = [compute_priority(self.settings.seed, *name) for name in named]
        for (domain, _), priority in zip(named, priorities, strict=True):
            trials[domain].insert(priority, 0, shares[domain])
        return [
            trials[name[0]].contains(priority) and not self.contains(*name)
            for name, priority in zip(named, priorities, strict=True)
        ]

    def contains(self, domain: str, clip_id: str) -> bool:
        return self._location(domain, clip_id) is not None

    def entry(self, domain: str, clip_id: str) -> Entry | None:
        """The metadata of a sample, None if the buffer does not hold it."""
        location = self._location(domain, clip_id)
        return None if location is None else self._segments.read(location).entry

    def entries(self) -> Iterator[Entry]:
        """The metadata of every sample, without tensors, in the order on disk."""
        self.flush()
        return (entry for location, entry in self._segments.entries() if self._is_alive(location, entry))

    def sample(self, domain: str, i: int) -> LatentSample:
        """The ``i``-th sample of a domain, in an order that depends only on the content."""
        self.flush()
        if domain not in self._rankings:
            raise UserError(f"replay buffer {self.root}: no domain {domain!r}; it holds {', '.join(self.domains)}")
        return self._segments.read(self._rankings[domain].locations[i])

    def flush(self) -> None:
        """Write all added samples to disk."""
        if self._segments.is_written:
            return
        self._segments.write()
        self._prune(2)
        num_needed = math.ceil(len(self) / SEGMENT_SIZE)
        # More than half of the samples on disk are dead: rewrite, which then costs O(1) per added sample.
        if len(self._segments.numbers) > 2 * num_needed + 1:
            self._rewrite(self._segments.numbers)

    def compact(self, max_dead_share: float) -> None:
        """Prune, then vacuum if the dead samples on disk exceed the share ``max_dead_share`` of the live ones."""
        self.prune()
        num_on_disk = sum(1 for _ in self._segments.entries())
        if num_on_disk > (1 + max_dead_share) * len(self):
            self.vacuum()

    def prune(self) -> None:
        """Reduce every domain to its quota, for policies that let domains grow beyond it."""
        self.flush()
        self._prune(1)

    def exclude(self, should_remove: Callable[[Entry], bool]) -> int:
        """Hide samples from this object, not on disk; how many. Do not add samples afterwards."""
        self.flush()
        self._digest = None
        found = array("Q", (location for location, entry in self._segments.entries() if should_remove(entry)))
        before = len(self)
        for domain, ranking in list(self._rankings.items()):
            ranking.retain(~np.isin(ranking.locations, found))
            if not len(ranking):
                del self._rankings[domain]
        return before - len(self)

    def remove(self, should_remove: Callable[[Entry], bool]) -> int:
        """Delete samples from the buffer and the disk, and domains without samples; how many samples."""
        dropped = self.exclude(should_remove)
        self.running_means = {
            domain: running_mean for domain, running_mean in self.running_means.items() if domain in self._rankings
        }
        self._quotas = self.settings.allocate_quotas(self._rankings)
        self.vacuum()
        return dropped

    def vacuum(self) -> None:
        """Delete all dead samples from the disk."""
        self.flush()
        segments_with_dead = {
            location // SEGMENT_SIZE
            for location, entry in self._segments.entries()
            if not self._is_alive(location, entry)
        }
        self._rewrite(sorted(segments_with_dead))

    def stats(self) -> ReplayBufferStats:
        self.flush()
        return ReplayBufferStats(
            capacity=self.settings.capacity,
            samples=self.sizes,
            quotas={domain: self._quotas[domain] for domain in self.domains},
            num_bytes=self._segments.num_bytes,
        )

    def digest(self) -> str:
        """The sha256 of the content: equal for buffers with the same samples, whatever their history.

        Reads all samples. Raises UserError if one is damaged.
        """
        # Flushed first, since a flush may prune.
        self.flush()
        if self._digest is None:
            digests = [sample.digest() for sample in self._live_samples()]
            self._digest = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
        return self._digest

    def __enter__(self) -> "ReplayBuffer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.flush()

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        return self.__dict__

    def _require_quota(self, domain: str) -> None:
        if domain in self._rankings:
            return
        if min(self.settings.allocate_quotas({*self._rankings, domain}).values()) < 1:
            raise UserError(
                f"replay buffer {self.root}: capacity {self.settings.capacity} leaves no space for domain {domain!r}, "
                f"it holds {len(self._rankings)} domains; create a buffer with a larger capacity"
            )

    def _insert(self, domain: str, clip_id: str, location: int) -> bool:
        """Rank a sample and evict samples beyond the quotas; False if it ranks too low or is a duplicate."""
        self._digest = None
        if domain not in self._rankings:
            self._rankings[domain] = Ranking()
            self._quotas = self.settings.allocate_quotas(self._rankings)
            if self._policy.is_hash_based:
                for name, other in self._rankings.items():
                    other.trim(self._quotas[name])
        limit = self._quotas[domain] if self._policy.is_hash_based else sys.maxsize
        return self._rankings[domain].insert(compute_priority(self.settings.seed, domain, clip_id), location, limit)

    def _live_samples(self) -> Iterator[LatentSample]:
        for domain, size in self.sizes.items():
            for i in range(size):
                yield self.sample(domain, i)

    def _is_alive(self, location: int, entry: Entry) -> bool:
        return self._location(entry["domain"], entry["clip_id"]) == location

    def _location(self, domain: str, clip_id: str) -> int | None:
        ranking = self._rankings.get(domain)
        return ranking.find_location(compute_priority(self.settings.seed, domain, clip_id)) if ranking else None

    def _prune(self, factor: int) -> None:
        """Reduce the domains with more than ``factor`` times their quota to the samples that the policy selects."""
        if self._policy.is_hash_based:
            return
        self._digest = None
        touched: set[int] = set()
        for domain, ranking in self._rankings.items():
            quota, locations = self._quotas[domain], ranking.locations
            if len(ranking) <= factor * quota:
                continue
            features: list[Features] = [np.empty(0)] * len(ranking)
            # Read in the order on disk, store in the order of rank.
            for k in np.argsort(locations):
                features[k] = self._policy.extract_features(self._segments.read(locations[int(k)]))
            is_chosen = np.zeros(len(ranking), bool)
            is_chosen[self._policy.select(np.stack(features), self._mean(domain, features), quota)] = True
            touched.update(np.asarray(locations)[~is_chosen] // SEGMENT_SIZE)
            ranking.retain(is_chosen)
        self._rewrite(sorted(touched))

    def _mean(self, domain: str, features: list[Features]) -> Features:
        return self.running_means[domain].mean if domain in self.running_means else np.mean(features, axis=0)

    def _rewrite(self, numbers: Collection[int]) -> None:
        """Copy the live samples of these segments into new segments and remove the old ones."""
        locations = np.concatenate(
            [np.array(ranking.locations, np.uint64) for ranking in self._rankings.values()] or [_NO_LOCATIONS]
        )
        relocated = self._segments.copy(numbers, locations)
        for ranking in self._rankings.values():
            ranking.relocate(relocated)
        self._segments.remove(numbers)
