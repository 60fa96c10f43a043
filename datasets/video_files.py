"""Which files of a folder are footage, and the ids of the clips that are named after them."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

SCENE_FILE = "scene.json"
# In upper case too: GoPro, DJI and most dash cameras write .MP4.
SUFFIXES = (".mp4", ".m4v", ".mov")
_UNREAD_SUFFIXES = (
    ".3gp", ".360", ".avi", ".flv", ".h264", ".hevc", ".insv", ".lrv", ".m2ts", ".mkv", ".mpeg", ".mpg", ".mts",
    ".webm", ".wmv",
)  # fmt: skip
_MAX_ID = 100


def videos_in(folder: Path) -> list[Path]:
    """The videos of one folder by name. As for a shell's ``*.mp4``, names that begin with a dot are not meant: macOS
    leaves a ``._drive.mp4`` beside each ``drive.mp4`` on foreign disks."""
    return sorted(path for path in folder.iterdir() if _is_named(path, SUFFIXES) and not path.name.startswith("."))


def videos_under(root: Path) -> list[Path]:
    """The videos at any depth under ``root``, but for hidden files and those in hidden folders."""
    return [path for path in _visible_under(root) if _is_named(path, SUFFIXES)]


def descriptions_under(root: Path) -> list[Path]:
    """Every ``scene.json`` at any depth under ``root``, but for those in hidden folders."""
    return [path for path in _visible_under(root) if path.name == SCENE_FILE]


def unread_under(root: Path) -> list[Path]:
    """Files that are videos by their name, in a format that is not read here."""
    return [path for path in _visible_under(root) if _is_named(path, _UNREAD_SUFFIXES)]


def describe_unread(files: Sequence[Path]) -> str:
    kinds = ", ".join(sorted({path.suffix for path in files}))
    return (
        f"{len(files)} files that look like video were not read ({kinds}), the first is {printable(files[0])}; "
        "make them H.264 in MP4 (ffmpeg -i IN OUT.mp4)"
    )


def clip_id_of(name: str) -> str:
    """``name`` in the letters of a clip id, with a short hash where others were dropped, so that names stay apart."""
    name = unicodedata.normalize("NFC", name)
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    is_lossy = not plain or len(plain) > _MAX_ID or not name.isascii()
    return _with_hash(plain, name) if is_lossy else plain


def clip_ids_of(paths: Iterable[PurePath]) -> dict[PurePath, str]:
    """An id for each video, told by its path without ending; those that would share one get a short hash each."""
    ids = {path: clip_id_of(path.with_suffix("").as_posix()) for path in paths}
    counts = Counter(ids.values())
    return {path: _with_hash(name, path.as_posix()) if counts[name] > 1 else name for path, name in ids.items()}


def printable(path: PurePath) -> str:
    """``path`` as text that can be written anywhere: what is no text in it becomes a question mark."""
    return str(path).encode(errors="replace").decode()


def _visible_under(root: Path) -> list[Path]:
    return sorted(
        path for path in root.rglob("*") if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _is_named(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes


def _with_hash(plain: str, name: str) -> str:
    # A file's name need not be text: bytes of another encoding stand for themselves.
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="surrogateescape")).hexdigest()
    return f"{plain[:_MAX_ID].strip('-') or 'clip'}-{digest[:8]}"
