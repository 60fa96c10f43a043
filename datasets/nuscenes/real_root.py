"""A nuScenes root that an export is merged with: its version, its scenes and a check of its tables."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.nuscenes.checks import check_maps, read_table
from driveforge.datasets.nuscenes.devkit import find_split, read_custom_splits, read_splits
from driveforge.datasets.nuscenes.writer import TABLES

# The first of these that a root has is merged; v1.0-test has no boxes.
_VERSIONS = ("v1.0-trainval", "v1.0-mini")


@dataclass(frozen=True, kw_only=True, slots=True)
class RealRoot:
    """The tables in ``root/version``; ``splits`` are the splits by scene name, "" for scenes of none, and
    ``custom_splits`` the content of its ``splits.json``."""

    root: Path
    version: str
    splits: dict[str, str] = field(repr=False)
    custom_splits: dict[str, tuple[str, ...]] = field(repr=False)

    @property
    def tables(self) -> Path:
        return self.root / self.version


def open_real_root(root: Path) -> RealRoot:
    """Check the tables of ``root`` without reading the large ones, in less than a second or two.

    Raises UserError if it is not a nuScenes root, or naming a table that is missing, truncated or inconsistent.
    """
    version = _find_version(root)
    for table in TABLES:
        _check_complete(root / version / f"{table}.json")
    logs, scenes = (read_table(root / version / f"{table}.json") for table in ("log", "scene"))
    maps = root / version / "map.json"
    check_maps(root, maps, read_table(maps), logs)
    splits = read_splits(root, version)
    return RealRoot(
        root=root,
        version=version,
        splits={row["name"]: find_split(row["name"], version, splits) for row in scenes},
        custom_splits=read_custom_splits(root, version),
    )


def check_scene_names(real: RealRoot, names: Iterable[str]) -> None:
    """Raise UserError if a scene of ``real`` has one of ``names``."""
    for name in names:
        if name in real.splits:
            raise UserError(
                f"{real.tables / 'scene.json'} has a scene {shorten(name)} already; give a root that this export was "
                "not merged with before"
            )


def _find_version(root: Path) -> str:
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the dataroot of a nuScenes data set")
    present = sorted(path.parent.name for path in root.glob("*/scene.json"))
    known = [version for version in _VERSIONS if version in present]
    if known or len(present) == 1:
        return (known or present)[0]
    if (root / "scene.json").is_file():
        raise UserError(f"{root} is a folder of tables; give the dataroot that contains it: {root.parent}")
    found = f"it has {', '.join(present)}" if present else "it has no folder with a scene.json"
    raise UserError(f"{root} has neither {' nor '.join(_VERSIONS)}; {found}")


def _check_complete(path: Path) -> None:
    """Raise UserError if a table is missing, or does not begin and end like a list."""
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
            file.seek(max(0, path.stat().st_size - 64))
            end = file.read().rstrip()
    except FileNotFoundError:
        raise UserError(f"nuScenes table {path} is missing") from None
    except OSError as error:
        raise UserError(f"nuScenes table {path} cannot be read ({error.strerror})") from None
    if not (start.startswith(b"[") and end.endswith(b"]")):
        raise UserError(f"nuScenes table {path} is damaged or truncated: it must be a list of records")
