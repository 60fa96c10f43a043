"""Which files of a folder are footage, and the ids of the clips that are named after them."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

SCENE_FILE = "scene.json"
# In upper case too: GoPro, DJI and most dash cameras write .MP4.
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")
_UNSUPPORTED_SUFFIXES = (
    ".3gp", ".360", ".avi", ".flv", ".h264", ".hevc", ".insv", ".lrv", ".m2ts", ".mkv", ".mpeg", ".mpg", ".mts",
    ".webm", ".wmv",
)  # fmt: skip
_MAX_ID_LENGTH = 100


def list_videos(folder: Path) -> list[Path]:
    """The videos of one folder by name. As for a shell's ``*.mp4``, names that begin with a dot are not meant: macOS
    leaves a ``._drive.mp4`` beside each ``drive.mp4`` on foreign disks."""
    return sorted(
        path for path in folder.iterdir() if _has_suffix(path, VIDEO_SUFFIXES) and not path.name.startswith(".")
    )


def find_videos(root: Path) -> list[Path]:
    """The videos at any depth under ``root``, but for hidden files and those in hidden folders."""
    return [path for path in _find_visible(root) if _has_suffix(path, VIDEO_SUFFIXES)]


def find_descriptions(root: Path) -> list[Path]:
    """Every ``scene.json`` at any depth under ``root``, but for those in hidden folders."""
    return [path for path in _find_visible(root) if path.name == SCENE_FILE]


def find_unsupported(root: Path) -> list[Path]:
    """Files that are videos by their name, in a format that is not read here."""
    return [path for path in _find_visible(root) if _has_suffix(path, _UNSUPPORTED_SUFFIXES)]


def describe_unsupported(files: Sequence[Path]) -> str:
    extensions = ", ".join(sorted({path.suffix for path in files}))
    return (
        f"{len(files)} files that look like video were not read ({extensions}), the first is {printable(files[0])}; "
        "make them H.264 in MP4 (ffmpeg -i IN OUT.mp4)"
    )


def make_clip_id(name: str) -> str:
    """``name`` in the letters of a clip id, with a short hash where others were dropped, so that names stay apart."""
    name = unicodedata.normalize("NFC", name)
    slug = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    is_lossy = not slug or len(slug) > _MAX_ID_LENGTH or not name.isascii()
    return _append_hash(slug, name) if is_lossy else slug


def make_clip_ids(paths: Iterable[PurePath]) -> dict[PurePath, str]:
    """An id for each video, told by its path without ending; those that would share one get a short hash each."""
    ids = {path: make_clip_id(path.with_suffix("").as_posix()) for path in paths}
    counts = Counter(ids.values())
    return {path: _append_hash(name, path.as_posix()) if counts[name] > 1 else name for path, name in ids.items()}


def printable(path: PurePath) -> str:
    """``path`` as text that can be written anywhere: what is no text in it becomes a question mark."""
    return str(path).encode(errors="replace").decode()


def _find_visible(root: Path) -> list[Path]:
    return sorted(
        path for path in root.rglob("*") if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes


def _append_hash(slug: str, name: str) -> str:
    # A file's name need not be text: bytes of another encoding stand for themselves.
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="surrogateescape")).hexdigest()
    return f"{slug[:_MAX_ID_LENGTH].strip('-') or 'clip'}-{digest[:8]}"
