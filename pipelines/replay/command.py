"""The command ``replay``: add, stats, verify and remove on the persistent replay buffer."""

import argparse
from functools import partial
from pathlib import Path

from rich import get_console

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.registry.models import resolve_checkpoint
from driveforge.pipelines.replay.add import AddRequest, add, parse_size
from driveforge.pipelines.replay.clips import get_source_id
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.replay.stats import plot_stats, read_stats, stats_table
from driveforge.replay.audit import audit
from driveforge.replay.persistent import get_license, remove_samples
from driveforge.replay.segments import Entry


def main(config: Config, args: argparse.Namespace) -> int:
    """Run one subcommand; exit status 1 if ``verify`` finds a problem."""
    root = config.replay.buffer or config.run.persistent_replay
    match args.what:
        case "add":
            return _add(config, args, root)
        case "stats":
            return _stats(args.out, root)
        case "verify":
            return _verify(root)
        case _:
            return _remove(config.replay, args, root)


def _add(config: Config, args: argparse.Namespace, root: Path) -> int:
    if args.path is None:
        raise UserError("replay add needs a SOURCE: a folder, or the word simulated")
    added = add(
        root,
        config.data,
        config.replay,
        resolve_checkpoint(config),
        AddRequest(
            path=args.path,
            domain=args.domain,
            license=args.license,
            scores=args.scores,
            quota=parse_size(args.quota) if args.quota else None,
            capacity=parse_size(args.capacity) if args.capacity else None,
            retention=args.retention,
        ),
    )
    print_result(
        f"{added.num_clips} clips in {args.path}: {added.num_encoded} new ones encoded, {added.num_kept} kept in {root}"
    )
    if added.num_replaced:
        print_result(f"{added.num_replaced} clips removed, because their footage or its description was replaced")
    if added.duplicates:
        print_result(
            f"{len(added.duplicates)} skipped, the buffer holds clips with these names from another source: "
            f"{', '.join(added.duplicates[:3])} …; rename the folder to add them too"
        )
    return 0


def _stats(picture: Path | None, root: Path) -> int:
    stats = read_stats(root)
    get_console().print(stats_table(stats))
    if picture:
        plot_stats(picture, stats)
        print_result(str(picture))
    return 0


def _verify(root: Path) -> int:
    report = audit(root)
    for problem in report.problems:
        print_result(problem, prefix="damaged  ", style="red")
    verdict = f"{len(report.problems)} problems" if report.problems else "no problems"
    print_result(f"{root}: {report.num_samples} clips, {report.num_files} files, {report.num_bytes} bytes: {verdict}")
    return 1 if report.problems else 0


def _remove(replay: ReplaySettings, args: argparse.Namespace, root: Path) -> int:
    criteria = {"domain": args.domain, "license": args.license}
    criteria["place"] = get_source_id(args.path, replay) if args.path else None
    criteria = {name: value for name, value in criteria.items() if value is not None}
    if not criteria:
        raise UserError(
            "replay remove needs one or more of: --domain NAME, --license NAME, the SOURCE that clips came from"
        )
    num_removed = remove_samples(root, partial(_matches, criteria))
    print_result(f"{num_removed} clips removed from {root}")
    return 0


def _matches(criteria: dict[str, str], entry: Entry) -> bool:
    """Whether the clip meets all criteria."""
    place = entry.get("origin", {}).get("place", "")
    return criteria.items() <= {"domain": entry["domain"], "license": get_license(entry), "place": place}.items()
