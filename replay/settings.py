"""The settings of a replay buffer: ``buffer.json`` in its folder."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.json_record import read_json, validate_record
from driveforge.replay.retention import RETENTION_POLICIES

SETTINGS = "buffer.json"
FORMAT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferSettings:
    """``capacity`` and ``quotas`` are numbers of clips; domains without a quota divide the rest equally.

    ``key`` identifies how the latents were made (``latent_key``), ``retention`` is one of ``RETENTION_POLICIES``.
    """

    capacity: int
    seed: int = 0
    key: str = ""
    quotas: Mapping[str, int] = field(default_factory=dict)
    retention: str = "random"

    def __post_init__(self) -> None:
        object.__setattr__(self, "quotas", dict(sorted(self.quotas.items())))
        if self.capacity < 1:
            raise UserError(f"a replay buffer's capacity {self.capacity} must be at least 1")
        if bad := [f"{domain} {quota}" for domain, quota in self.quotas.items() if quota < 1]:
            raise UserError(f"the quota of {', '.join(bad)} must be at least 1 clip")
        if (total := sum(self.quotas.values())) > self.capacity:
            raise UserError(f"quotas of {total} clips in all exceed the replay buffer's capacity of {self.capacity}")
        if self.retention not in RETENTION_POLICIES:
            raise UserError(f"retention must be one of {', '.join(RETENTION_POLICIES)}, got {self.retention!r}")

    def allocate_quotas(self, domains: Iterable[str]) -> dict[str, int]:
        """The number of clips that each of ``domains`` may have, 0 if there is no space for it.

        The remainder goes to the first domains in alphabetical order. A quota never grows when a domain is added, so an
        evicted sample never has to be added again.
        """
        names = sorted(domains)
        sharing = [name for name in names if name not in self.quotas]
        left = self.capacity - sum(self.quotas.values())
        # 7 clips over 3 domains: ceil(7/3), ceil(6/3), ceil(5/3) = 3, 2, 2.
        equal = {name: max(0, math.ceil((left - rank) / len(sharing))) for rank, name in enumerate(sharing)}
        return {name: self.quotas.get(name, equal.get(name, 0)) for name in names}

    @property
    def record(self) -> dict[str, Any]:
        """The content of ``buffer.json``; quotas and retention only if they are not the default."""
        record = {"format": FORMAT, "capacity": self.capacity, "seed": self.seed, "key": self.key}
        quotas = {"quotas": self.quotas} if self.quotas else {}
        return record | quotas | ({"retention": self.retention} if self.retention != "random" else {})

    def write(self, root: Path) -> None:
        write_atomic(root / SETTINGS, json.dumps(self.record).encode())


def read_settings(root: Path) -> BufferSettings:
    """The settings of the buffer in ``root``. Raises UserError if there is none, or its format is another."""
    path = root / SETTINGS
    if not path.exists():
        raise UserError(f"{root}: is not a replay buffer (it has no {SETTINGS})")
    advice = f"delete {root} and fill it again"
    record = read_json(path, advice)
    if not isinstance(record, dict):
        raise UserError(f"{path}: must be an object, got {type(record).__name__}; {advice}")
    found = record.pop("format", None)
    if found != FORMAT:
        raise UserError(f"{path}: has format {shorten(found)}, this version reads {FORMAT}; {advice}")
    return validate_record(record, BufferSettings, str(path), advice)


def write_or_check_settings(root: Path, settings: BufferSettings) -> None:
    """Write ``settings`` if there are none yet. Raises UserError if ``root`` was created with others."""
    if not (root / SETTINGS).exists():
        settings.write(root)
    found = read_settings(root)
    for name in ("capacity", "seed", "key", "quotas", "retention"):
        if (was := getattr(found, name)) != (value := getattr(settings, name)):
            raise UserError(
                f"replay buffer {root}: was created with {name} {was!r}, not {value!r}; "
                "choose another folder, or delete this one"
            )
