"""Statistics of the persistent buffer, as a table and as a plot."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from driveforge.datasets.files.atomic import atomic_file
from driveforge.pipelines.console import format_size, plain_text
from driveforge.pipelines.replay.add import num_bytes_of
from driveforge.replay.persistent import get_license, open_persistent

_COLORS = ("#2f6fb0", "#c2571a", "#2f8f5b", "#7a4fa3", "#8a6d00", "#4aa3a3")


@dataclass(kw_only=True, slots=True)
class DomainStats:
    """One domain: clips by license, and when the ``oldest`` and ``newest`` clips were added, in UTC."""

    domain: str
    quota: int
    num_bytes: int = 0
    oldest: str = ""
    newest: str = ""
    licenses: Counter[str] = field(default_factory=Counter)

    @property
    def num_clips(self) -> int:
        return self.licenses.total()


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferStats:
    """``num_bytes`` is the size on disk; that of a domain is the size of its latents."""

    root: Path
    capacity: int
    retention: str
    num_bytes: int
    domains: tuple[DomainStats, ...]


def read_stats(root: Path) -> BufferStats:
    """Read the statistics of the buffer in ``root`` from its headers. Raises UserError if there is none."""
    buffer = open_persistent(root)
    totals = buffer.stats()
    rows = {domain: DomainStats(domain=domain, quota=quota) for domain, quota in totals.quotas.items()}
    for entry in buffer.entries():
        row, added = rows[entry["domain"]], entry.get("origin", {}).get("added", "")
        row.licenses[get_license(entry)] += 1
        row.oldest = min(filter(None, (row.oldest, added)), default="")
        row.newest = max(row.newest, added)
    size = num_bytes_of(buffer.sample(buffer.domains[0], 0))
    for row in rows.values():
        row.num_bytes = row.num_clips * size
    return BufferStats(
        root=root,
        capacity=totals.capacity,
        retention=buffer.settings.retention,
        num_bytes=totals.num_bytes,
        domains=tuple(rows.values()),
    )


def stats_table(stats: BufferStats) -> Table:
    rows = stats.domains
    table = Table(
        title=plain_text(f"replay buffer {stats.root}, retention {stats.retention}"),
        title_justify="left",
        show_footer=True,
    )
    table.add_column("domain", "all")
    table.add_column("clips", str(sum(row.num_clips for row in rows)), justify="right")
    table.add_column("quota", str(stats.capacity), justify="right")
    table.add_column("size", f"{format_size(stats.num_bytes)} on disk", justify="right")
    table.add_column("license")
    table.add_column("oldest (UTC)")
    table.add_column("newest (UTC)")
    for row in rows:
        licenses = ", ".join(f"{name} ({count})" for name, count in row.licenses.most_common())
        times = (_format_time(row.oldest), _format_time(row.newest))
        cells = (row.domain, row.num_clips, row.quota, format_size(row.num_bytes), licenses, *times)
        table.add_row(*map(plain_text, cells))
    return table


def plot_stats(path: Path, stats: BufferStats) -> None:
    """Write a PNG with the clips of each domain as a bar, colored by license, and a tick at the quota."""
    rows = stats.domains
    names = [name for name, _ in sum((row.licenses for row in rows), Counter[str]()).most_common()]
    figure = Figure(figsize=(8, 1.5 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    starts = [0] * len(rows)
    for n, name in enumerate(names):
        counts = [row.licenses[name] for row in rows]
        axes.barh(range(len(rows)), counts, 0.62, starts, color=_COLORS[n % len(_COLORS)], label=_truncate(name))
        starts = [start + count for start, count in zip(starts, counts, strict=True)]
    axes.vlines([row.quota for row in rows], *_quota_ends(len(rows)), color="#444444", lw=1.5, label="quota")
    for y, row in enumerate(rows):
        axes.text(row.num_clips, y, f" {row.num_clips} · {format_size(row.num_bytes)} ", va="center", fontsize=8)
    axes.set(
        yticks=range(len(rows)), xlabel="clips", xlim=(0, 1.2 * max(max(row.quota, row.num_clips) for row in rows))
    )
    axes.set_yticklabels([row.domain for row in rows])
    axes.set_title(
        f"{sum(starts)} of {stats.capacity} clips, {format_size(stats.num_bytes)} on disk", loc="left", fontsize=10
    )
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower left", ncols=3, fontsize=8, frameon=False)
    with atomic_file(path) as file:
        figure.savefig(file, dpi=110)


def _quota_ends(count: int) -> tuple[Sequence[float], Sequence[float]]:
    return [n - 0.42 for n in range(count)], [n + 0.42 for n in range(count)]


def _truncate(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"


def _format_time(stamp: str) -> str:
    return stamp[:16].replace("T", " ")
