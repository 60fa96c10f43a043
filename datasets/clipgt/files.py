"""The files of ClipGT clips. Imports no heavy code, so the kind of a folder is found quickly."""

from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.clipgt.vocabulary import file_name, sensor_name
from driveforge.datasets.video_files import make_clip_id

_CALIBRATION = "calibration_estimate.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFiles:
    """The files ``folder/<prefix><name>``; the prefix is ``<clip>.``, or "" in the ``clipgt`` folder of a USDZ file."""

    folder: Path
    prefix: str

    @property
    def clip_id(self) -> str:
        return make_clip_id(self.prefix.removesuffix(".") or self.folder.resolve().name)

    def table(self, name: str) -> Path:
        return self.file(f"{name}.parquet")

    def file(self, name: str) -> Path:
        return self.folder / f"{self.prefix}{name}"

    def video(self, camera: str) -> Path | None:
        """The video of the camera channel ``camera``, named as we or as OmniDreams do; None if there is none."""
        sensor = file_name(sensor_name(camera))
        names = (self.file(f"{sensor}.mp4"), self.file(f"{sensor}_rgb.mp4"), self.folder / f"{sensor}_rgb.mp4")
        return next((path for path in names if path.is_file()), None)


def find_clips(root: Path) -> list[ClipFiles]:
    """Every clip at any depth under ``root`` that is not in a hidden folder, by path."""
    found = (path for path in sorted(root.rglob(f"*{_CALIBRATION}")) if path.is_file())
    visible = (path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts))
    files = (ClipFiles(folder=path.parent, prefix=path.name.removesuffix(_CALIBRATION)) for path in visible)
    return [clip for clip in files if not clip.prefix or clip.prefix.endswith(".")]
