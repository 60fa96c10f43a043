"""The cross-domain replay buffer: a domain-balanced reservoir of latents on disk.

Which samples stay is a matter of ``replay.ranking``: it depends on *what* was offered and not on when. So offering a
stream twice, in another order, or once more after a crash gives the same content.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from datasets.errors import UserError
from datasets.latent_shards import (
    LatentSample,
    OpenShards,
    publish,
    read_entries,
    require_storable,
    write_shard,
)
from replay.ranking import Ranking, priority_of

SETTINGS = "buffer.json"
FORMAT = 1
SEGMENT_SIZE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferStats:
    """``samples`` and ``quotas`` are by domain; ``num_bytes`` is what lies on disk, evicted samples in it too."""

    capacity: int
    samples: dict[str, int]
    quotas: dict[str, int]
    num_bytes: int


class ReplayBuffer:
    """At most ``capacity`` samples, shared out equally among the domains that were offered.

    Samples lie in segments, each written at once and then never changed; what is alive is recomputed from them. So a
    crash at any moment leaves the content as of the last ``flush``, and memory holds 16 bytes a sample. A flush
    comes of itself every 64 accepted samples, before reading, and at the end of a ``with`` block. Only one process may
    fill it at a time.

    ``key`` names what the latents were made with (``datasets.latents.latent_key``); opening it with another one, or
    with another capacity or seed, is a UserError.
    """

    def __init__(self, root: Path, capacity: int, *, seed: int = 0, key: str = "") -> None:
        if capacity < 1:
            raise UserError(f"replay buffer {root}: capacity {capacity} must be at least 1")
        self.root, self.capacity, self.seed, self.key = Path(root), capacity, seed, key
        self.root.mkdir(parents=True, exist_ok=True)
        self._claim_settings()
        self._shards = OpenShards(self.root)
        self._rankings: dict[str, Ranking] = {}
        self._pending: list[LatentSample] = []
        self._segments = sorted(int(path.stem.split("-")[1]) for path in self.root.glob("segment-*.safetensors"))
        self._next_segment = self._segments[-1] + 1 if self._segments else 0
        for number in self._segments:
            for row, entry in enumerate(read_entries(self.root / _segment_file(number))):
                self._admit(entry["domain"], entry["clip_id"], number * SEGMENT_SIZE + row)
        self._layout = self._read(self._segments[0] * SEGMENT_SIZE).layout if self._segments else None

    @classmethod
    def open(cls, root: Path) -> "ReplayBuffer":
        """A buffer that exists, with the settings it was made with; a UserError where there is none."""
        settings = _read_settings(Path(root))
        return cls(root, settings["capacity"], seed=settings["seed"], key=settings["key"])

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted(self._rankings))

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples by domain, domains in alphabetical order."""
        return {domain: len(self._rankings[domain]) for domain in self.domains}

    def __len__(self) -> int:
        return sum(self.sizes.values())

    def offer(self, sample: LatentSample) -> bool:
        """Whether the sample is in the buffer now. It may be evicted later by others of its domain, or a new domain."""
        require_storable(sample, self._layout)
        if sample.domain not in self._rankings and len(self._rankings) >= self.capacity:
            raise UserError(
                f"replay buffer {self.root}: capacity {self.capacity} leaves no place for domain {sample.domain!r}, "
                f"it holds {len(self._rankings)} domains; make a larger buffer"
            )
        location = self._next_segment * SEGMENT_SIZE + len(self._pending)
        if not self._admit(sample.domain, sample.clip_id, location):
            return self._holds(sample)
        self._layout = sample.layout
        self._pending.append(sample)
        if len(self._pending) == SEGMENT_SIZE:
            self.flush()
        return True

    def sample(self, domain: str, i: int) -> LatentSample:
        """The ``i``-th sample of a domain, in an order that depends on the content alone."""
        self.flush()
        if domain not in self._rankings:
            raise UserError(f"replay buffer {self.root}: no domain {domain!r}; it holds {', '.join(self.domains)}")
        return self._read(self._rankings[domain].locations[i])

    def flush(self) -> None:
        """Makes what was offered so far outlast this process."""
        if self._pending:
            self._write_segment(self._pending)
            self._pending = []
            if len(self._segments) > 2 * -(-len(self) // SEGMENT_SIZE) + 1:
                self._compact()

    def stats(self) -> BufferStats:
        self.flush()
        return BufferStats(
            capacity=self.capacity,
            samples=self.sizes,
            quotas={domain: self._quota(domain) for domain in self.domains},
            num_bytes=sum((self.root / _segment_file(number)).stat().st_size for number in self._segments),
        )

    def digest(self) -> str:
        """sha256 of the content: equal for buffers that hold the same samples, however they came to."""
        digest = hashlib.sha256()
        for sample in self._live_samples():
            digest.update(json.dumps([sample.entry, str(sample.layout)], sort_keys=True).encode())
            for name in sorted(sample.tensors):
                digest.update(sample.tensors[name].reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def __enter__(self) -> "ReplayBuffer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.flush()

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        return self.__dict__

    def _admit(self, domain: str, clip_id: str, location: int) -> bool:
        """Ranks a sample, evicting whatever no longer fits; False where it has no place or is there already."""
        is_new_domain = domain not in self._rankings
        ranking = self._rankings.setdefault(domain, Ranking())
        was_admitted = ranking.admit(priority_of(self.seed, domain, clip_id), location, self._quota(domain))
        if is_new_domain:
            for name, other in self._rankings.items():
                other.trim(self._quota(name))
        return was_admitted

    def _holds(self, sample: LatentSample) -> bool:
        return self._rankings[sample.domain].holds(priority_of(self.seed, sample.domain, sample.clip_id))

    def _quota(self, domain: str) -> int:
        # The remainder goes to the first domains in alphabetical order. A quota only ever falls as domains are added,
        # so an evicted sample never has to come back.
        rank = self.domains.index(domain)
        return -(-(self.capacity - rank) // len(self._rankings))

    def _read(self, location: int) -> LatentSample:
        number, row = divmod(location, SEGMENT_SIZE)
        return self._shards[_segment_file(number)].sample(row)

    def _live_samples(self) -> Iterator[LatentSample]:
        for domain, size in self.sizes.items():
            for i in range(size):
                yield self.sample(domain, i)

    def _write_segment(self, samples: list[LatentSample]) -> None:
        write_shard(self.root / _segment_file(self._next_segment), samples)
        self._segments.append(self._next_segment)
        self._next_segment += 1

    def _compact(self) -> None:
        # The living are copied before the old segments go: killed in between, the next opening finds some samples
        # twice, ranks them once, and this is done again.
        old, self._segments = self._segments, []
        rankings: dict[str, Ranking] = {}
        batch: list[LatentSample] = []
        for domain, ranking in sorted(self._rankings.items()):
            moved = rankings[domain] = Ranking()
            for priority, location in zip(ranking.priorities, ranking.locations, strict=True):
                moved.append(priority, self._next_segment * SEGMENT_SIZE + len(batch))
                batch.append(self._read(location))
                if len(batch) == SEGMENT_SIZE:
                    self._write_segment(batch)
                    batch = []
        if batch:
            self._write_segment(batch)
        self._rankings = rankings
        self._shards = OpenShards(self.root)
        for number in old:
            (self.root / _segment_file(number)).unlink()

    def _claim_settings(self) -> None:
        wanted = {"format": FORMAT, "capacity": self.capacity, "seed": self.seed, "key": self.key}
        if not (self.root / SETTINGS).exists():
            publish(self.root / SETTINGS, json.dumps(wanted).encode())
        found = _read_settings(self.root)
        for name, value in wanted.items():
            if found[name] != value:
                raise UserError(
                    f"replay buffer {self.root}: was made with {name} {found[name]!r}, not {value!r}; "
                    "give another folder, or delete this one"
                )


def _segment_file(number: int) -> str:
    return f"segment-{number:06d}.safetensors"


def _read_settings(root: Path) -> dict[str, Any]:
    path = root / SETTINGS
    if not path.exists():
        raise UserError(f"{root}: is no replay buffer (it has no {SETTINGS})")
    try:
        settings: dict[str, Any] = json.loads(path.read_text())
        return {name: settings[name] for name in ("format", "capacity", "seed", "key")}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is not what a replay buffer wrote; delete {root} and fill it again") from None
