"""The command ``review``: a page with every clip of a run, to watch, filter and decide; or a static copy of it."""

import argparse
import getpass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_message, print_result
from driveforge.pipelines.inputs.instruments import load_instruments
from driveforge.pipelines.review.clip_table import read_clip_table
from driveforge.pipelines.review.media import ClipMedia
from driveforge.pipelines.review.session import ReviewSession
from driveforge.pipelines.run_dir import require_run, run_dir_lock
from driveforge.pipelines.tracking.runs import pipeline_run
from driveforge.validation.calibration import Calibration

if TYPE_CHECKING:
    from driveforge.pipelines.review.server import OpenReview


def main(config: Config, args: argparse.Namespace) -> int:
    """Serve the page until interrupted, or write the static copy to ``args.out``."""
    require_run(config.run_dir)
    if args.sheets and args.out is None:
        raise UserError("--sheets belongs to --out DIR; the served page draws the measured sheet of a clip with `m`")
    if args.out is not None:
        return _write_copy(config, args.out, with_sheets=args.sheets)
    from driveforge.pipelines.review.guard import make_token
    from driveforge.pipelines.review.server import bind, make_app, serve

    review, token = open_review(config), make_token()
    sock = bind(args.port)
    port = sock.getsockname()[1]
    print_result(f"Review of {len(review.table.rows):,} clips: http://127.0.0.1:{port}/{token}/   (Ctrl-C stops it)")
    serve(make_app(review, token=token, port=port), sock)
    return 0


def open_review(config: Config) -> "OpenReview":
    """What the server shows of a run. Raises UserError if it has no verdicts, or a file of it is damaged."""
    from driveforge.pipelines.review.server import OpenReview

    table = read_clip_table(config.run, Calibration.load(config.calibration_path))
    session = ReviewSession(config.run, table, config.validate)
    session.read()  # fail before the page is opened
    return OpenReview(
        title=config.run_dir.resolve().name,
        reviewer=getpass.getuser(),
        table=table,
        media=ClipMedia(table, config.data, partial(load_instruments, config.validate)),
        session=session,
        reload=partial(open_review, config),
        apply=partial(_apply, config),
    )


def _apply(config: Config) -> None:
    """Run the gate with the decisions, as the command does. Raises UserError if another command uses the run."""
    from driveforge.pipelines.review.publish import publish_review
    from driveforge.pipelines.validate.gate import gate

    with run_dir_lock(config.run_dir, blocking=False), pipeline_run(config, "gate") as tracker:
        publish_review(config, gate(config.run, config.calibration_path), tracker)


def _write_copy(config: Config, out: Path, *, with_sheets: bool) -> int:
    from driveforge.pipelines.review.static_copy import CopyContents, write_copy

    review = open_review(config)
    contents = CopyContents(sheets=with_sheets, sources=True)
    num_missing = write_copy(out, review.table, review.session, review.media, title=review.title, contents=contents)
    if num_missing:
        print_message(f"{num_missing} clips without their source clip: it is not in the data of this run")
    print_result(out / "index.html")
    return 0
