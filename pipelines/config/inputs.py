"""Checks that the input paths of a command exist, before any work is done."""

from collections.abc import Collection, Iterator
from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.pipelines.config.config import Config


def require_inputs(config: Config, sections: Collection[str]) -> None:
    """Raise UserError if an input path of ``sections`` does not exist."""
    for key, path in _inputs(config, sections):
        if not path.exists():
            raise UserError(f"{key}={shorten(path, 200)} does not exist; correct the path, or unset it")


def _inputs(config: Config, sections: Collection[str]) -> Iterator[tuple[str, Path]]:
    # evaluate has the sections data and replay, but reads only framing and seed from them.
    reads_clips = "model" in sections or "generate" in sections
    root = getattr(config.data, "root", None)
    if reads_clips and root is not None:
        yield "data.root", root
    if reads_clips and "replay" in sections:
        if config.replay.root is not None:
            yield "replay.root", config.replay.root
        if config.replay.buffer is not None and "finetune" in sections:
            yield "replay.buffer", config.replay.buffer
    if "evaluate" in sections:
        for number, path in enumerate(config.evaluate.footage):
            yield f"evaluate.footage[{number}]", path
