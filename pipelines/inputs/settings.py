"""The kinds of driving data: their settings, how they are opened, and detection of the kind of data at a path.

A new kind is a source in ``datasets/``, a file in ``conf/data/`` and a record here, in ``Data`` and ``DATA_ON_DISK``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args, get_type_hints

from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.settings import Range
from driveforge.datasets.video_files import VIDEO_SUFFIXES, find_descriptions, find_videos

if TYPE_CHECKING:
    from driveforge.datasets.source import Item, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemOptions:
    """Which clips to list of a data set with several versions and cameras, and how many rows large images keep."""

    version: str = ""
    cameras: Sequence[str] = ("CAM_FRONT",)
    height: int = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings(Framing):
    """What every kind of data defines; kinds on disk also define ``is_at``, ``at`` and ``list_items``."""

    def open(self) -> "Source":
        """The source of clips. Raises UserError if ``root`` does not hold this kind of data."""
        raise NotImplementedError

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether ``path`` holds this kind of data."""
        raise NotImplementedError

    @classmethod
    def at(cls, path: Path, like: "DataSettings") -> Self:
        """The settings of the data at ``path``, with the framing of ``like``."""
        raise NotImplementedError

    @classmethod
    def list_items(cls, path: Path, options: ItemOptions) -> "list[Item]":
        """Every clip at ``path``, to be loaded independently."""
        raise NotImplementedError

    @classmethod
    def overrides_at(cls, path: Path) -> list[str]:
        """Command-line settings that select the data at ``path``, for kinds with additional settings to override."""
        return []

    @property
    def item_options(self) -> ItemOptions:
        return ItemOptions()


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedData(DataSettings):
    """Clips of the procedural world, rendered as they are read."""

    name: Literal["simulated"]
    num_scenes: Annotated[int, "clips over all domains", Range(1)]
    domains: Annotated[tuple[str, ...], "simulated domains, for example driving-day, driving-dusk, driving-rain"]
    seed: Annotated[int, "random seed; the same seed gives the same clips", Range(0)]

    def open(self) -> "Source":
        from driveforge.pipelines.inputs.sources import open_simulated

        return open_simulated(self.num_scenes, self.domains, self.seed, self.framing)


@dataclass(frozen=True, kw_only=True, slots=True)
class NuScenesData(DataSettings):
    """A nuScenes data set, or any other in its table format."""

    name: Literal["nuscenes"]
    root: Annotated[Path, "the folder that holds samples, sweeps and the version's tables"]
    version: Annotated[str, "the folder of the tables, for example v1.0-mini"]
    split: Annotated[str, "all, or a split: train, val, mini_train, mini_val, test"]
    cameras: Annotated[tuple[str, ...], "channels, for example [CAM_FRONT]"]
    sweeps: Annotated[bool, "read the frames between key frames; boxes are interpolated"]
    pad_short_scenes: Annotated[bool, "hold the last frame of recordings shorter than a clip"]

    def open(self) -> "Source":
        from driveforge.datasets.nuscenes.source import NuScenesSource

        return NuScenesSource(
            self.root,
            self.version,
            self.framing,
            split=self.split,
            cameras=self.cameras,
            sweeps=self.sweeps,
            pad_short_scenes=self.pad_short_scenes,
        )

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return bool(_list_versions(path))

    @classmethod
    def at(cls, path: Path, like: DataSettings) -> "NuScenesData":
        """``like`` with ``path`` as its root; only data=nuscenes says which version and cameras to read."""
        if not isinstance(like, NuScenesData):
            raise UserError(f"{path}: holds nuScenes tables; they can only be read with data=nuscenes")
        return replace(like, root=path, version=_select_version(path, like.version))

    @classmethod
    def list_items(cls, path: Path, options: ItemOptions) -> "list[Item]":
        from driveforge.datasets.nuscenes.source import list_items

        return list_items(path, _select_version(path, options.version), options.cameras, options.height)

    @classmethod
    def overrides_at(cls, path: Path) -> list[str]:
        versions = _list_versions(path)
        if not versions:
            return []
        # With several versions, data.version must be given.
        version = [f"data.version={versions[0]}"] if len(versions) == 1 else []
        return ["data=nuscenes", f"data.root={path}", *version]

    @property
    def item_options(self) -> ItemOptions:
        return ItemOptions(version=self.version, cameras=self.cameras)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardData(DataSettings):
    """Shards that an export wrote."""

    name: Literal["shards"]
    root: Annotated[Path, "the folder that holds index.json"]

    def open(self) -> "Source":
        from driveforge.datasets.webdataset_shards.source import ShardSource

        return ShardSource(self.root)

    @classmethod
    def is_at(cls, path: Path) -> bool:
        from driveforge.datasets.webdataset_shards.source import has_shards

        return has_shards(path)

    @classmethod
    def at(cls, path: Path, like: DataSettings) -> "ShardData":
        return ShardData(name="shards", root=path, **asdict(like.framing))

    @classmethod
    def list_items(cls, path: Path, options: ItemOptions) -> "list[Item]":
        from driveforge.datasets.webdataset_shards.source import list_items

        return list_items(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipGtData(DataSettings):
    """NVIDIA's world-scenario parquet: scenes to generate from, with or without videos."""

    name: Literal["clipgt"]
    root: Annotated[Path, "searched for *.calibration_estimate.parquet"]
    cameras: Annotated[tuple[str, ...], "channels such as CAM_FRONT or names of the rig; empty: all of the rig"]
    domain: Annotated[str | None, "domain of every clip; null: from an export of ours, or by words of the prompt"]

    def open(self) -> "Source":
        from driveforge.datasets.clipgt.source import ClipGtSource

        return ClipGtSource(self.root, self.framing, self.cameras, self.domain)

    @classmethod
    def is_at(cls, path: Path) -> bool:
        from driveforge.datasets.clipgt.files import find_clips

        return path.is_dir() and bool(find_clips(path))

    @classmethod
    def at(cls, path: Path, like: DataSettings) -> "ClipGtData":
        cameras = tuple(like.item_options.cameras)
        return ClipGtData(name="clipgt", root=path, cameras=cameras, domain=None, **asdict(like.framing))

    @classmethod
    def list_items(cls, path: Path, options: ItemOptions) -> "list[Item]":
        from driveforge.datasets.clipgt.source import list_items

        return list_items(path, options.cameras)

    @property
    def item_options(self) -> ItemOptions:
        return ItemOptions(cameras=self.cameras)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoData(DataSettings):
    """A folder of videos, each with an optional scene.json."""

    name: Literal["video"]
    root: Annotated[Path, "searched for *.mp4, *.m4v and *.mov"]
    domain: Annotated[str | None, "domain of every clip; null: from scene.json, or the folder's name"]

    def open(self) -> "Source":
        from driveforge.datasets.folder_source import VideoFolderSource

        if self.root.is_file():
            return VideoFolderSource(self.root.parent, self.framing, self.domain, pattern=escape(self.root.name))
        return VideoFolderSource(self.root, self.framing, self.domain)

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return path.is_file() or bool(find_videos(path) or find_descriptions(path))

    @classmethod
    def at(cls, path: Path, like: DataSettings) -> "VideoData":
        return VideoData(name="video", root=path, domain=None, **asdict(like.framing))

    @classmethod
    def list_items(cls, path: Path, options: ItemOptions) -> "list[Item]":
        from driveforge.datasets.folder_source import list_items

        return list_items(path)


Data = SimulatedData | NuScenesData | VideoData | ShardData | ClipGtData
# In the order in which a path is tested; the last one accepts any file.
DATA_ON_DISK: tuple[type[DataSettings], ...] = (NuScenesData, ShardData, ClipGtData, VideoData)


def find_kind(path: Path) -> type[DataSettings]:
    """The kind of the data at ``path``. Raises UserError if nothing there can be read."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    for kind in DATA_ON_DISK:
        if kind.is_at(path):
            return kind
    videos = ", ".join(VIDEO_SUFFIXES)
    raise UserError(f"{path}: holds no nuScenes tables (v1.0-*), no shards (*.tar), no ClipGT and no videos ({videos})")


def select_kind(path: Path, data: DataSettings) -> type[DataSettings]:
    """The kind of the data at ``path``: that of ``data``, or the detected one if ``data`` is simulated, the default.

    Raises UserError if ``path`` does not hold data of that kind, or is not the root of ``data``.
    """
    root = getattr(data, "root", None)
    if root is None or not path.exists():
        return find_kind(path)
    if root != path:
        raise UserError(f"data.root={root} is not the path of the command, {path}; leave out data.root")
    if not data.is_at(path):
        raise UserError(f"{path}: holds no clips for data={_name(type(data))}; leave that out to detect their kind")
    return type(data)


def overrides_at(path: Path, overrides: Sequence[str] = ()) -> list[str]:
    """Command-line settings that select the data at ``path``, so that its other settings can be overridden.

    Its kind is that of the last ``data=KIND`` in ``overrides``, else the detected one.
    """
    chosen = [value for key, _, value in (override.partition("=") for override in overrides) if key == "data"]
    if not chosen:
        return next(filter(None, (kind.overrides_at(path) for kind in DATA_ON_DISK)), [])
    kind = next((kind for kind in DATA_ON_DISK if _name(kind) == chosen[-1]), None)
    return (kind.overrides_at(path) or [f"data.root={path}"]) if kind else []


def _name(kind: type[DataSettings]) -> str:
    """The choice of the group ``data`` that selects this kind."""
    return str(get_args(get_type_hints(kind)["name"])[0])


def _list_versions(root: Path) -> list[str]:
    """The folders with nuScenes tables in ``root``."""
    return sorted(folder.name for folder in root.glob("v1.0-*") if folder.is_dir())


def _select_version(root: Path, version: str) -> str:
    """``version``, or the only one in ``root`` if it is empty."""
    versions = _list_versions(root)
    if version and version not in versions:
        raise UserError(f"{root}: has no tables {version}; it has {', '.join(versions)}")
    if not version and len(versions) > 1:
        raise UserError(f"{root}: holds {', '.join(versions)}; choose with data=nuscenes data.version=...")
    return version or versions[0]
