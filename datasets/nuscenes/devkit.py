"""nuScenes tables, read through nuscenes-devkit with one-line errors."""

from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.nuscenes.checks import check_maps, read_table
from driveforge.datasets.nuscenes.taxonomy import Row
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes


class CheckedNuScenes(NuScenes):
    """The devkit's database; raises UserError naming table and token if a table is missing, damaged or inconsistent."""

    def __load_table__(self, table_name: str) -> list[Row]:
        path = Path(self.table_root) / f"{table_name}.json"
        rows = read_table(path)
        if table_name == "map":
            check_maps(Path(self.dataroot), path, rows, self.log)
        return rows

    def getind(self, table_name: str, token: str) -> int:
        """Index of a row; raises UserError if another table refers to a token that this table lacks."""
        try:
            return int(self._token2ind[table_name][token])
        except KeyError:
            path = Path(self.table_root) / f"{table_name}.json"
            raise UserError(f"{path} has no token {shorten(token)!r}, which another table refers to") from None


def open_tables(root: Path, version: str) -> CheckedNuScenes:
    """The tables in ``root/version``; raises UserError naming a wrong root, version, table or token."""
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
    except Exception as error:  # the devkit raises exceptions of many types, also for tables that are not checked here
        raise UserError(
            f"nuscenes-devkit cannot read {root / version}: {type(error).__name__}: {shorten(error, 120)}"
        ) from error


def read_splits(root: Path, version: str) -> dict[str, frozenset[str]]:
    """Scene names by split: the official splits, and the custom ones of ``splits.json`` in the table folder."""
    splits = {name: frozenset(scenes) for name, scenes in create_splits_scenes().items()}
    for name, scenes in read_custom_splits(root, version).items():
        splits[name] = splits.get(name, frozenset()) | frozenset(scenes)
    return splits


def read_custom_splits(root: Path, version: str) -> dict[str, tuple[str, ...]]:
    """Scene names by split of ``splits.json`` in the table folder; empty if there is none."""
    path = root / version / "splits.json"
    hint = "it must map names of splits to lists of scene names"
    return read_record(path, dict[str, tuple[str, ...]], hint) if path.is_file() else {}


def find_split(scene_name: str, version: str, splits: dict[str, frozenset[str]]) -> str:
    """The split of a scene, "" if it has none.

    In a mini version, mini splits take precedence; train_detect and train_track, the halves of train, are ignored.
    """
    mini = [name for name in splits if name.startswith("mini_")]
    others = [name for name in splits if name not in (*mini, "train_detect", "train_track")]
    order = [*mini, *others] if "mini" in version else others
    return next((name for name in order if scene_name in splits[name]), "")
