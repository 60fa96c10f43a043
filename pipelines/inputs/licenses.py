"""Under which license a clip for replay is: what a ``meta.json`` beside it, or above it in its source, says."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_json
from driveforge.datasets.folder_source import VideoFolderSource
from driveforge.datasets.scene import Scene
from driveforge.datasets.source import Source
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.replay.persistent import NOT_STATED

# The procedural world is nobody else's.
SIMULATED = "simulated"
_FILES = ("meta.json", "croissant.json")


def license_reader(root: Path | None, source: Source) -> Callable[[Scene], str]:
    """What tells the license of a scene of ``source``, which was opened at ``root`` (None: it is simulated)."""
    if root is None:
        return lambda scene: SIMULATED
    top = root if root.is_dir() else root.parent
    if isinstance(source, VideoFolderSource):
        return lambda scene: _nearest_license(source.clip_folder(scene), top)
    return lambda scene: _nearest_license(top, top)


def select_licensed(opener: Callable[[], Source], replay: ReplaySettings, scenes: Sequence[Scene]) -> Sequence[int]:
    """Numbers of the scenes that ``replay.licenses`` lets in; a UserError where that is none."""
    if replay.licenses is None:
        return range(len(scenes))
    read_license = license_reader(replay.root, opener())
    found = [read_license(scene) for scene in scenes]
    numbers = [n for n, license in enumerate(found) if license in replay.licenses]
    if not numbers:
        raise UserError(
            f"replay.licenses={', '.join(replay.licenses)} lets no clip in; there are {', '.join(sorted(set(found)))}"
        )
    return numbers


@lru_cache(maxsize=4096)
def _nearest_license(folder: Path, top: Path) -> str:
    """Of the nearest file that states one, from ``folder`` up to ``top``."""
    for path in (folder / name for name in _FILES):
        if path.is_file() and (license := _read_license(path)):
            return license
    return NOT_STATED if folder in (top, folder.parent) else _nearest_license(folder.parent, top)


def _read_license(path: Path) -> str:
    record = read_json(path, "so nobody knows the license; give --license")
    parts = [record, record.get("source")] if isinstance(record, dict) else []
    for part in (part for part in parts if isinstance(part, dict)):
        for name in ("licence", "license"):
            if isinstance(part.get(name), str) and part[name].strip():
                return shorten(part[name], 200)
    return ""
