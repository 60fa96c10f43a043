"""The standing replay buffer: fill it, look into it, check it, and take clips out of it again."""

import argparse
from functools import partial
from pathlib import Path

from rich import get_console

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import show
from driveforge.pipelines.inputs.at_path import place_of
from driveforge.pipelines.registry.models import checkpoint_of
from driveforge.pipelines.replay.add import Wish, add, parse_room
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.replay.stats import draw, read_stats, table
from driveforge.replay.audit import audit
from driveforge.replay.persistent import get_license, remove_samples
from driveforge.replay.segments import Entry


def main(config: Config, args: argparse.Namespace) -> int:
    """Do what the sub-verb says; status 1 where ``verify`` finds anything wrong."""
    root = config.replay.buffer or config.run.persistent_replay
    match args.what:
        case "add":
            return _add(config, args, root)
        case "stats":
            return _stats(args.out, root)
        case "verify":
            return _verify(root)
        case _:
            return _drop(config.replay, args, root)


def _add(config: Config, args: argparse.Namespace, root: Path) -> int:
    if args.path is None:
        raise UserError("say what to add: driveforge replay add SOURCE; SOURCE is a folder, or the word simulated")
    added = add(
        root,
        config.data,
        config.replay,
        checkpoint_of(config),
        Wish(
            path=args.path,
            domain=args.domain,
            licence=args.licence,
            scores=args.scores,
            quota=parse_room(args.quota) if args.quota else None,
            capacity=parse_room(args.capacity) if args.capacity else None,
            keep=args.keep,
        ),
    )
    show(f"{added.num_clips} clips in {args.path}: {added.num_encoded} new encoded, {added.num_kept} kept in {root}")
    if added.num_replaced:
        show(f"{added.num_replaced} clips left, since their footage or its description was replaced")
    if added.twins:
        show(
            f"{len(added.twins)} left out, the buffer holds clips of these names from elsewhere: "
            f"{', '.join(added.twins[:3])} …; rename the folder to add them too"
        )
    return 0


def _stats(picture: Path | None, root: Path) -> int:
    stats = read_stats(root)
    get_console().print(table(stats))
    if picture:
        draw(picture, stats)
        show(str(picture))
    return 0


def _verify(root: Path) -> int:
    report = audit(root)
    for problem in report.problems:
        show(problem, head="wrong  ", style="red")
    verdict = f"{len(report.problems)} problems" if report.problems else "all as it should be"
    show(f"{root}: {report.num_samples} clips, {report.num_files} files, {report.num_bytes} bytes: {verdict}")
    return 1 if report.problems else 0


def _drop(replay: ReplaySettings, args: argparse.Namespace, root: Path) -> int:
    wanted = {"domain": args.domain, "license": args.licence}
    wanted["place"] = place_of(args.path, replay) if args.path else None
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if not wanted:
        raise UserError("say what to drop: --domain NAME, --licence NAME, the SOURCE it came from, or several of them")
    dropped = remove_samples(root, partial(_matches, wanted))
    show(f"{dropped} clips dropped from {root}")
    return 0


def _matches(wanted: dict[str, str], entry: Entry) -> bool:
    """Whether all that is asked for is true of the clip."""
    place = entry.get("origin", {}).get("place", "")
    return wanted.items() <= {"domain": entry["domain"], "license": get_license(entry), "place": place}.items()
