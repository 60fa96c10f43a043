"""What a generated clip may leak: frames that repeat a recording, and scenes of an evaluation split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.near_duplicates import find_nearest
from driveforge.datasets.stores.opening import open_store
from driveforge.pipelines.generate.requests import FIRST_FRAMES_FOLDER
from driveforge.pipelines.generate.source_frames import RecordedFrames, parse_hash
from driveforge.pipelines.inputs.sources import HELD_OUT_SPLITS


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicates:
    """How similar a clip's frames are to the recorded frames of its run, without the given first frames.

    ``share`` of them are near-duplicates. The nearest pair differs in ``bits`` of 256: ``frame`` of ``camera``, and
    ``recorded_frame`` of ``recorded_clip``. If ``compared`` is false nothing was, and the other values are empty.
    """

    compared: bool = False
    share: float = 0.0
    bits: int = -1
    camera: str = ""
    frame: int = -1
    recorded_clip: str = ""
    recorded_frame: int = -1


def find_near_duplicates(metadata: Mapping[str, Any], recorded: RecordedFrames, candidates: Path) -> NearDuplicates:
    """Compare the ``frame_hashes`` of a candidate's ``metadata`` with ``recorded``; of equal pairs the first counts."""
    hashes = metadata.get("frame_hashes", {})
    given = _num_given_frames(str(metadata.get("first_frames", "")), candidates)
    frames = [(camera, t, row) for camera, rows in hashes.items() for t, row in enumerate(rows) if t >= given]
    if not frames or not recorded.places:
        return NearDuplicates()
    found = find_nearest(np.stack([parse_hash(row) for _, _, row in frames]), recorded.hashes)
    (camera, frame, _), nearest = min(zip(frames, found, strict=True), key=lambda pair: pair[1].bits)
    recorded_clip, _, recorded_frame = recorded.places[nearest.row]
    return NearDuplicates(
        compared=True,
        share=sum(one.is_near_duplicate for one in found) / len(found),
        bits=nearest.bits,
        camera=camera,
        frame=frame,
        recorded_clip=recorded_clip,
        recorded_frame=recorded_frame,
    )


def require_no_evaluation_split(splits: Mapping[str, str], *, allowed: bool) -> None:
    """Raise UserError if a clip comes from a scene of an evaluation split, unless that is ``allowed``.

    ``splits`` maps clips to the splits of their scenes.
    """
    held_out = [clip_id for clip_id, split in splits.items() if split in HELD_OUT_SPLITS]
    if held_out and not allowed:
        names = ", ".join(sorted({splits[clip_id] for clip_id in held_out}))
        raise UserError(
            f"{len(held_out)} accepted clips, {held_out[0]} for example, come from scenes of an evaluation split "
            f"({names}), and a model that trains on them cannot be evaluated on it; generate from others with "
            "generate.source_split=train, or export them, marked, with export.allow_evaluation_split=true"
        )


def is_evaluation_split(split: str) -> bool:
    return split in HELD_OUT_SPLITS


def _num_given_frames(name: str, candidates: Path) -> int:
    """The number of recorded first frames that the clip continues, which are not generated."""
    if not name:
        return 0
    path = open_store(candidates).fetch(f"{FIRST_FRAMES_FOLDER}/{name}")
    # A run folder may have been copied without them; the shipped settings give one.
    return int(np.load(path, mmap_mode="r", allow_pickle=False).shape[1]) if path.is_file() else 1
