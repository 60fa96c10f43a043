"""``README.md`` and ``driveforge.json`` of an export in nuScenes format."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from driveforge.datasets.files.json_record import read_json
from driveforge.datasets.nuscenes.export_splits import DEFAULT_SPLIT, trainer_split
from driveforge.datasets.webdataset_shards.data_card import Provenance

EXPORT_FILE, CARD_FILE = "driveforge.json", "README.md"

_CARD = """\
# {name}

{num_scenes} with {num_samples} key frames in nuScenes format ({version}).{merged}

All pixels of these scenes are synthetic. Every clip was measured against its conditioning (ego pose and 3D boxes) and
accepted by a gate with calibrated limits, or by a reviewer.

| | |
| --- | --- |
| license | {license} |
| generator (digest of the weights) | {model} |
| calibration | {calibration} |
| cameras | {cameras} |
| scenes by split | {splits} |
| accepted clips without a scene | {skipped} |

## Loading

```python
import json
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.splits import get_scenes_of_split

nusc = NuScenes("{version}", dataroot=".")
names = get_scenes_of_split("synthetic_{split}", nusc)  # devkit 1.2 or newer
names = json.load(open("{version}/splits.json"))["{split}"]  # the same{and_real}, with any devkit
```

- **Splits.** Scenes are named after clips. Tools with the predefined splits of nuScenes take every unknown scene name
  for validation data: mmdetection3d, BEVFusion, StreamPETR and UniAD assign a scene to train only if its name is in
  `nuscenes.utils.splits.train`. Let them read `{version}/splits.json` instead. The keys `synthetic_train`,
  `synthetic_val` and so on are for the devkit, which gives the official scenes for the name `train`.
- A scene is in the split of the recording that it was generated from; recordings without a split count as
  {default_split} ({unknown} of the scenes).
- **Synthetic scenes** have the `vehicle` "driveforge" in `log.json`, and their descriptions begin with "Synthetic: ".
  `driveforge.json` lists them with their recordings.
- **LIDAR_TOP** is not a measurement, and there is no radar: do not train a lidar model on it. The files exist because
  tools require them. Rays are cast on flat ground and on the boxes; a box that no ray hits gets one point, so that
  tools that drop boxes without points keep every box. Boxes that cameras do not see have visibility "1".
- **Key frames** are 0.5 s apart. Frames after the last key frame, and held frames, are left out.
- **Cameras.** Trainers that expect six cameras need clips of six cameras. {rig}
- There is no map expansion and no CAN bus. The map image of a scene is drawn from its lanes. Scenes are moved by whole
  meters to the positive coordinates that maps need; `driveforge.json` has the translations.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedScene:
    """A scene of an export: its clip, with the split and the recording that it was generated from.

    ``translation`` are the meters in x and y by which the clip was moved, ``cameras`` the channels.
    """

    name: str
    split: str
    recording: str
    translation: tuple[float, float]
    cameras: tuple[str, ...]
    num_samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NuScenesCard:
    """Content and provenance of an export; ``merged`` is the root whose scenes it has too, ``skipped`` how many
    accepted clips have no scene, by reason."""

    name: str
    license: str
    version: str
    scenes: Sequence[ExportedScene] = field(repr=False)
    provenance: Provenance
    skipped: Mapping[str, int]
    merged: str = ""

    @property
    def num_samples(self) -> int:
        return sum(scene.num_samples for scene in self.scenes)


def export_card(card: NuScenesCard) -> str:
    """The text of ``README.md``, in Markdown; its Python example runs unchanged."""
    splits = Counter(trainer_split(scene.split) for scene in card.scenes)
    rigs = Counter(scene.cameras for scene in card.scenes)
    skipped = "; ".join(f"{count}: {reason}" for reason, count in sorted(card.skipped.items()))
    sizes = ", ".join(f"{count} with {len(cameras)}" for cameras, count in sorted(rigs.items()))
    return _CARD.format(
        name=card.name,
        num_scenes=f"{len(card.scenes)} synthetic scene{'s' * (len(card.scenes) != 1)}",
        num_samples=card.num_samples,
        version=card.version,
        merged=f"\n\nThe tables also hold the scenes of `{card.merged}`, under their own license." * bool(card.merged),
        license=card.license or "not stated",
        model=f"`{card.provenance.model}`" if card.provenance.model else "not stated",
        calibration=card.provenance.calibration or "not stated",
        cameras=", ".join(sorted({camera for cameras in rigs for camera in cameras})),
        splits=", ".join(f"{count} {split}" for split, count in sorted(splits.items())),
        skipped=skipped or "none",
        split=min(splits),
        and_real=" and the real ones" * bool(card.merged),
        default_split=DEFAULT_SPLIT,
        unknown=sum(not scene.split for scene in card.scenes),
        rig=f"Scenes by number of cameras: {sizes}.",
    )


def export_record(card: NuScenesCard) -> bytes:
    """The bytes of ``driveforge.json``, which marks a folder as an export."""
    record = {"generator": "driveforge", "format": "nuscenes", "version": card.version, "name": card.name}
    record |= {"merged": card.merged, "scenes": [asdict(scene) for scene in card.scenes]}  # type: ignore[dict-item]
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def read_export_record(root: Path) -> dict[str, Any]:
    """The content of ``root/driveforge.json``; raises UserError if it is damaged or not of an export in this format."""
    record = read_json(root / EXPORT_FILE)
    is_ours = isinstance(record, dict) and (record.get("generator"), record.get("format")) == ("driveforge", "nuscenes")
    return dict(record) if is_ours else {}
