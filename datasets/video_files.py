"""Listing of video files, and clip ids derived from their names."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

SCENE_FILE = "scene.json"
# Case is ignored: GoPro, DJI and most dash cameras write .MP4.
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")
_UNSUPPORTED_SUFFIXES = (
    ".3gp", ".360", ".avi", ".flv", ".h264", ".hevc", ".insv", ".lrv", ".m2ts", ".mkv", ".mpeg", ".mpg", ".mts",
    ".webm", ".wmv",
)  # fmt: skip
_MAX_ID_LENGTH = 100


def list_videos(folder: Path) -> list[Path]:
    """The videos of one folder, sorted by name, without hidden files: macOS writes ``._drive.mp4`` next to
    ``drive.mp4`` on other file systems."""
    return sorted(
        path for path in folder.iterdir() if _has_suffix(path, VIDEO_SUFFIXES) and not path.name.startswith(".")
    )


def find_videos(root: Path) -> list[Path]:
    """The videos at any depth under ``root``, except hidden files and hidden folders."""
    return [path for path in _find_visible(root) if _has_suffix(path, VIDEO_SUFFIXES)]


def find_descriptions(root: Path) -> list[Path]:
    """Every ``scene.json`` at any depth under ``root``, except in hidden folders."""
    return [path for path in _find_visible(root) if path.name == SCENE_FILE]


def find_unsupported(root: Path) -> list[Path]:
    """Files whose names are those of videos in unsupported formats."""
    return [path for path in _find_visible(root) if _has_suffix(path, _UNSUPPORTED_SUFFIXES)]


def describe_unsupported(files: Sequence[Path]) -> str:
    extensions = ", ".join(sorted({path.suffix for path in files}))
    return (
        f"{len(files)} videos in unsupported formats were skipped ({extensions}), the first is {printable(files[0])}; "
        "convert them to H.264 in MP4 (ffmpeg -i IN OUT.mp4)"
    )


def make_clip_id(name: str) -> str:
    """``name`` as a clip id (a-z, 0-9, '-', '_'), with a short hash if letters were lost, so that ids stay unique."""
    name = unicodedata.normalize("NFC", name)
    slug = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    is_lossy = not slug or len(slug) > _MAX_ID_LENGTH or not name.isascii()
    return _append_hash(slug, name) if is_lossy else slug


def make_clip_ids(paths: Iterable[PurePath]) -> dict[PurePath, str]:
    """A clip id per video, from its path without suffix; videos with the same id get a short hash each."""
    ids = {path: make_clip_id(path.with_suffix("").as_posix()) for path in paths}
    counts = Counter(ids.values())
    return {path: _append_hash(name, path.as_posix()) if counts[name] > 1 else name for path, name in ids.items()}


def printable(path: PurePath) -> str:
    """``path`` as valid UTF-8 text; undecodable bytes become question marks."""
    return str(path).encode(errors="replace").decode()


def _find_visible(root: Path) -> list[Path]:
    return sorted(
        path for path in root.rglob("*") if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes


def _append_hash(slug: str, name: str) -> str:
    # File names need not be valid UTF-8: surrogateescape hashes their raw bytes.
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="surrogateescape")).hexdigest()
    return f"{slug[:_MAX_ID_LENGTH].strip('-') or 'clip'}-{digest[:8]}"
