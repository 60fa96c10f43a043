"""What every source of clips offers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from driveforge.datasets.scene import Clip, Scene


class Source(Protocol):
    """A data set: its scenes are cheap to list, its pixels are loaded one clip at a time."""

    def __len__(self) -> int: ...

    def scenes(self) -> Sequence[Scene]: ...

    def load(self, scene: Scene) -> Clip: ...

    def files(self, scene: Scene) -> Sequence[Path]:
        """Those that hold the pixels of ``scene``; none where they are made."""
        ...
