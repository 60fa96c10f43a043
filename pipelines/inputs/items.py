"""The clips under a path as items that are loaded one by one."""

from collections.abc import Sequence
from pathlib import Path

from driveforge.datasets.source import Item
from driveforge.pipelines.inputs.settings import ItemOptions, find_kind


def list_clips(
    path: Path | str, version: str = "", cameras: Sequence[str] = ("CAM_FRONT",), height: int = 256
) -> Sequence[Item]:
    """Every clip under ``path``: nuScenes scenes, samples of shards, or videos at any depth.

    ``version`` selects one of several versions of nuScenes tables; ``cameras`` and ``height`` (rows) apply only to
    nuScenes. Raises UserError if ``path`` holds none of these.
    """
    path = Path(path)
    return find_kind(path).list_items(path, ItemOptions(version=version, cameras=tuple(cameras), height=height))
