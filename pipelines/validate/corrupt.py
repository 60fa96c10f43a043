"""Corrupt: good clips spoilt in one known way and by a known amount, as clip folders that measure reads."""

import argparse

from rich import get_console
from rich.table import Table

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import WriteError
from driveforge.datasets.folder_source import write_clip_folder
from driveforge.pipelines.config.build import unknown
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import show
from driveforge.pipelines.inputs.items import list_clips
from driveforge.validation.corruptions.catalogue import CORRUPTIONS, corrupt

LIST = "list"


def main(config: Config, args: argparse.Namespace) -> int:
    """Spoil every clip under ``args.clip``; status 1 where one could not be read or spoilt that way."""
    console = get_console()
    if args.kind == LIST:
        console.print(kinds_table())
        return 0
    if args.kind not in CORRUPTIONS:
        raise UserError(unknown(f"no kind {args.kind!r}", args.kind, CORRUPTIONS))
    if args.clip is None or args.out is None:
        raise UserError("a clip to spoil and --out are needed; see driveforge corrupt --help")
    about = CORRUPTIONS[args.kind]
    strength = about.strong if args.strength is None else args.strength
    about.check(strength)
    other = list_clips(args.other)[0].load() if args.other else None
    if "other" in about.needs and other is None:
        raise UserError(f"{args.kind} needs a clip of another place: --other CLIP")
    items, bad = list_clips(args.clip), 0
    for item in items:
        try:
            spoilt = corrupt(item.load(), args.kind, strength, seed=args.seed, other=other)
            show(write_clip_folder(args.out, spoilt))
        except WriteError:
            raise
        except UserError as error:
            bad += 1
            show(error, head="not spoilt: ", style="red")
    show(f"{len(items) - bad} of {len(items)} clips spoilt by {args.kind}, {strength:g} {about.unit}")
    return 1 if bad else 0


def kinds_table() -> Table:
    """Every kind with the unit of its strength, a mild and a strong one, and what it needs of a clip."""
    table = Table("mild", "strong", "unit", "kind", "in the clip", "needs", box=None, pad_edge=False)
    for column in table.columns[:4]:
        column.no_wrap = True
    for about in CORRUPTIONS.values():
        needs = ", ".join(about.needs)
        table.add_row(f"{about.mild:g}", f"{about.strong:g}", about.unit, about.name, about.words, needs)
    return table
