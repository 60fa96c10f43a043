"""nuScenes tables through nuscenes-devkit, with every defect of a table told in one line."""

from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.nuscenes.checks import check_maps, read_table
from driveforge.datasets.nuscenes.taxonomy import Row
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes


class CheckedNuScenes(NuScenes):
    """The devkit's database; a missing, broken or inconsistent table raises a UserError naming table and token."""

    def __load_table__(self, table_name: str) -> list[Row]:
        path = Path(self.table_root) / f"{table_name}.json"
        rows = read_table(path)
        if table_name == "map":
            check_maps(Path(self.dataroot), path, rows, self.log)
        return rows

    def getind(self, table_name: str, token: str) -> int:
        """Index of a row; a token that another table names but this one lacks is a UserError."""
        try:
            return int(self._token2ind[table_name][token])
        except KeyError:
            path = Path(self.table_root) / f"{table_name}.json"
            raise UserError(f"{path} has no token {shorten(token)!r}, which another table refers to") from None


def open_tables(root: Path, version: str) -> CheckedNuScenes:
    """The tables in ``root/version``; a UserError names the root, version, table or token that is wrong."""
    if not root.is_dir():
        raise UserError(f"nuScenes dataroot {root} is not a folder")
    if not (root / version).is_dir():
        present = sorted(p.parent.name for p in root.glob("*/scene.json"))
        raise UserError(
            f"{root} has no version {version!r}; it has {', '.join(present) or 'no folder with a scene.json'}"
        )
    try:
        return CheckedNuScenes(version, str(root), verbose=False)
    except UserError:
        raise
    except Exception as error:  # the devkit raises what it meets, also on tables that only it reads
        raise UserError(
            f"nuscenes-devkit cannot read {root / version}: {type(error).__name__}: {shorten(error, 120)}"
        ) from error


def read_splits(root: Path, version: str) -> dict[str, frozenset[str]]:
    """Scene names of every split: the official ones, joined by those of ``splits.json`` beside the tables (the devkit's
    place for splits of one's own)."""
    splits = {name: frozenset(scenes) for name, scenes in create_splits_scenes().items()}
    path = root / version / "splits.json"
    if path.is_file():
        custom = read_record(path, dict[str, tuple[str, ...]], "it must map names of splits to lists of scene names")
        for name, scenes in custom.items():
            splits[name] = splits.get(name, frozenset()) | frozenset(scenes)
    return splits


def find_split(scene_name: str, version: str, splits: dict[str, frozenset[str]]) -> str:
    """The split that a scene belongs to, "" where none: mini splits win in a mini version, halves of train never."""
    mini = [name for name in splits if name.startswith("mini_")]
    others = [name for name in splits if name not in (*mini, "train_detect", "train_track")]
    order = [*mini, *others] if "mini" in version else others
    return next((name for name in order if scene_name in splits[name]), "")
