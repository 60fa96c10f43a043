"""Renderer processes, which make clips and their pixel conditions while the device trains. Imports no torch.

Each process has its own slots and its own pipe: no locks are shared, so the death of one is noticed and blocks nobody.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.conditioning.pixel_clip import make_pixel_clip
from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.pipelines.processes.orphans import exit_with_parent
from driveforge.pipelines.processes.threads import limit_threads
from driveforge.pipelines.train.streaming.clips import ClipStream
from driveforge.pipelines.train.streaming.slots import CELL_PX, ClipSlots

SLOTS_PER_RENDERER = 8
# Below the training process, which must never wait for a core.
_NICENESS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A clip in a slot of its renderer; ``world`` is its number in the ``ClipStream``."""

    slot: int
    world: int
    domain: str
    caption: str
    has_layout: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RenderedBatch:
    """N clips: ``images`` (N,3,T,H,W,3) uint8 and ``cells`` (N,8,T,h,w) float16 as in ``PixelClip``."""

    images: NDArray[np.uint8]
    cells: NDArray[np.float16]
    clips: tuple[Rendered, ...]


class Renderers:
    """The receiving end of running renderer processes."""

    def __init__(self, processes: Sequence[BaseProcess], pipes: Sequence[Connection], slots: Sequence[ClipSlots]):
        self._processes = processes
        self._slots_of = dict(zip(pipes, slots, strict=True))
        self._ready: list[tuple[Connection, Rendered]] = []
        # As many as fill half of the slots, so that renderers never wait.
        self._efficient = max(1, len(pipes) * SLOTS_PER_RENDERER // 2)
        self.next_world = 0

    def take(self, *, timeout: float | None = 0.0, at_least: int | None = None) -> RenderedBatch | None:
        """The finished clips, or None if there are fewer than ``at_least`` after ``timeout`` s; None waits for ever.

        By default enough for an efficient batch of the encoder. Raises UserError if a renderer has terminated.
        """
        wanted = self._efficient if at_least is None else at_least
        self._receive(0.0)
        while len(self._ready) < wanted:
            if not self._receive(timeout) and timeout is not None:
                return None
        taken, self._ready = self._ready, []
        batch = RenderedBatch(
            images=np.stack([self._slots_of[pipe].images[clip.slot] for pipe, clip in taken]),
            cells=np.stack([self._slots_of[pipe].cells[clip.slot] for pipe, clip in taken]),
            clips=tuple(clip for _, clip in taken),
        )
        for pipe, clip in taken:
            pipe.send(clip.slot)
        self.next_world = max(self.next_world, *(clip.world + 1 for clip in batch.clips))
        return batch

    def _receive(self, timeout: float | None) -> bool:
        """Receive what has arrived; False if nothing did within ``timeout`` s."""
        arrived = wait(list(self._slots_of), timeout)
        for pipe in arrived:
            assert isinstance(pipe, Connection)
            try:
                self._ready.append((pipe, pipe.recv()))
            except EOFError:
                raise UserError(
                    "a renderer process terminated, probably out of memory; lower pretrain.streaming.renderers "
                    "and run again"
                ) from None
        return bool(arrived)

    def end(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()


@contextmanager
def start_renderers(stream: ClipStream, framing: Framing, count: int | None, first_world: int) -> Iterator[Renderers]:
    """``count`` processes, or one per core but one, that render the worlds from ``first_world`` on.

    They end with the block, and with this process, even if it is killed.
    """
    number = count or max(1, (os.cpu_count() or 1) - 1)
    spawn = multiprocessing.get_context("spawn")
    processes, pipes, slots = [], [], []
    # Ctrl-C reaches the whole process group. Renderers inherit this mask; this process ends them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for k in range(number):
            ours, theirs = spawn.Pipe()
            memory = ClipSlots.allocate(spawn, SLOTS_PER_RENDERER, framing)
            worlds = range(first_world + k, 2**62, number)
            process = spawn.Process(target=_render, args=(stream, worlds, memory, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
            slots.append(memory)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    renderers = Renderers(processes, pipes, slots)
    try:
        yield renderers
    finally:
        renderers.end()


def _render(stream: ClipStream, worlds: range, slots: ClipSlots, pipe: Connection) -> None:
    """Render for ever; waits for a free slot if all are taken."""
    exit_with_parent()
    limit_threads()
    os.nice(_NICENESS)
    images, cells = slots.images, slots.cells
    free = list(range(slots.count))
    try:
        for world in worlds:
            for scene, frames in stream.film(world):
                clip = make_pixel_clip(scene, frames, CELL_PX)
                slot = free.pop() if free else pipe.recv()
                images[slot], cells[slot] = clip.images, clip.cells
                pipe.send(
                    Rendered(
                        slot=slot,
                        world=world,
                        domain=scene.domain,
                        caption=scene.caption,
                        has_layout=bool(scene.tracks or scene.lanes),
                    )
                )
    except (EOFError, BrokenPipeError):
        pass  # the training process has ended
