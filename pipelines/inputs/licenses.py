"""The license of a clip: what a ``meta.json`` in its folder, or in a folder above it in its source, says."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_json
from driveforge.datasets.scene import Scene
from driveforge.datasets.source import Source
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.replay.persistent import NOT_STATED

# The license of simulated clips, which contain no recorded footage.
SIMULATED = "simulated"
_FILES = ("meta.json", "croissant.json")


def license_reader(root: Path | None, source: Source) -> Callable[[Scene], str]:
    """A function that reads the license of a scene of ``source``, which was opened at ``root`` (None: simulated)."""
    if root is None:
        return lambda scene: SIMULATED
    top = root if root.is_dir() else root.parent
    return lambda scene: _nearest_license(source.files(scene)[0].parent, top)


def select_licensed(opener: Callable[[], Source], replay: ReplaySettings, scenes: Sequence[Scene]) -> Sequence[int]:
    """Indices of the scenes whose license is in ``replay.licenses``. Raises UserError if there are none."""
    if replay.licenses is None:
        return range(len(scenes))
    read_license = license_reader(replay.root, opener())
    found = [read_license(scene) for scene in scenes]
    indices = [n for n, license in enumerate(found) if license in replay.licenses]
    if not indices:
        raise UserError(
            f"replay.licenses={', '.join(replay.licenses)} matches no clip; the licenses found are "
            f"{', '.join(sorted(set(found)))}"
        )
    return indices


@lru_cache(maxsize=4096)
def _nearest_license(folder: Path, top: Path) -> str:
    """The license in the nearest file that states one, from ``folder`` up to ``top``."""
    for path in (folder / name for name in _FILES):
        if path.is_file() and (license := _read_license(path)):
            return license
    return NOT_STATED if folder in (top, folder.parent) else _nearest_license(folder.parent, top)


def _read_license(path: Path) -> str:
    """The license that the file states, empty if it states none."""
    record = read_json(path, "correct it, or give --license")
    parts = [record, record.get("source")] if isinstance(record, dict) else []
    for part in (part for part in parts if isinstance(part, dict)):
        for spelling in ("license", "licence"):
            license = part.get(spelling)
            if isinstance(license, str) and license.strip():
                return shorten(license, 200)
    return ""
