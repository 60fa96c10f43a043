"""The interface of every source of clips, and of one clip that is loaded independently."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from driveforge.datasets.scene import Clip, Scene


class Source(Protocol):
    """A data set: listing its scenes is cheap, pixels are loaded one clip at a time."""

    @property
    def skipped(self) -> Sequence[str]:
        """One line for each part of the data set that yields no clip, with the reason."""
        ...

    def __len__(self) -> int: ...

    def scenes(self) -> Sequence[Scene]: ...

    def load(self, scene: Scene) -> Clip: ...

    def files(self, scene: Scene) -> Sequence[Path]:
        """The files with the pixels of ``scene``; empty if they are rendered."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One clip of a data set, loaded independently of the others.

    A source raises an error if any file of its data set is wrong. Commands that measure a data set list items instead,
    to measure the good clips and report the others. ``loader(*arguments)`` loads the clip; it must be a module-level
    function, since items are sent to other processes and compared there.
    """

    name: str
    loader: Callable[..., Clip]
    arguments: tuple[Hashable, ...]

    def load(self) -> Clip:
        return self.loader(*self.arguments)
