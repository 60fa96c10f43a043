"""The command ``view``: every clip under a path as a video with overlays per camera, and as a contact sheet."""

import argparse
from collections import Counter
from functools import partial
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.progress import track
from driveforge.datasets.source import Item
from driveforge.datasets.video import encode_mp4
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.inputs.instruments import InstrumentsLoader, load_instruments
from driveforge.pipelines.inputs.settings import select_kind
from driveforge.pipelines.plots.contact_sheet import SheetRow, render_contact_sheet, write_png
from driveforge.pipelines.plots.overlay_video import overlay_frames
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.validate.measure import make_folder


def main(config: Config, args: argparse.Namespace) -> int:
    """Write ``<clip>.<camera>.mp4`` and ``<clip>.png`` for every clip; returns 1 if one cannot be read."""
    items = select_kind(args.path, config.data).list_items(args.path, config.data.item_options)
    if not items:
        raise UserError(f"{args.path}: holds no clip")
    make_folder(args.out, "--out")
    load = partial(load_instruments, config.validate)
    load()  # fails once if weights or a package are missing, not for every clip
    counts = Counter(item.name for item in items)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise UserError(f"{args.path}: {repeated[0]} is there twice; view one of them at a time")
    write = partial(write_views, out=args.out, instruments=load)
    errors = list(track(parallel_map(write, items), "Drawing", total=len(items)))
    for error in filter(None, errors):
        print_result(error, style="red")
    print_result(f"{errors.count('')} clips in {args.out}")
    return 1 if any(errors) else 0


def write_views(item: Item, out: Path, instruments: InstrumentsLoader) -> str:
    """Write the videos and the sheet of one clip; returns an error message, or "" on success."""
    try:
        clip, tracker = item.load(), instruments().tracker
    except Exception as error:  # decoders raise various errors, and one bad file must not end the command
        return f"{item.name}: {error}"
    name = clip.scene.clip_id
    cameras = {camera.name: overlay_frames(clip, camera.name, tracker) for camera in clip.scene.cameras}
    for camera, frames in cameras.items():
        write_atomic(out / f"{name}.{camera.lower()}.mp4", encode_mp4(frames, clip.scene.frame_rate or 1.0))
    rows = [SheetRow(caption=f"{name}, {camera}", frames=frames) for camera, frames in cameras.items()]
    write_png(out / f"{name}.png", render_contact_sheet(rows, scale=1))
    return ""
