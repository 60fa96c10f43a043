"""The command ``corrupt``: apply a controlled corruption to good clips, to test measures and the gate."""

import argparse

from rich import get_console
from rich.table import Table

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import WriteError
from driveforge.datasets.folder_source import write_clip_folder
from driveforge.pipelines.config.build import with_suggestion
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.inputs.items import list_clips
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt

LIST = "list"


def main(config: Config, args: argparse.Namespace) -> int:
    """Corrupt every clip under ``args.clip``; returns 1 if a clip could not be read or corrupted."""
    console = get_console()
    if args.type == LIST:
        console.print(corruptions_table())
        return 0
    if args.type not in CORRUPTIONS:
        raise UserError(with_suggestion(f"no corruption type {args.type!r}", args.type, CORRUPTIONS))
    if args.clip is None or args.out is None:
        raise UserError("give a clip to corrupt and --out; see driveforge corrupt --help")
    corruption = CORRUPTIONS[args.type]
    strength = corruption.strong if args.strength is None else args.strength
    corruption.check(strength)
    other = list_clips(args.other)[0].load() if args.other else None
    if "other" in corruption.requirements and other is None:
        raise UserError(f"{args.type} needs a clip from another place; give --other CLIP")
    items, num_failed = list_clips(args.clip), 0
    for item in items:
        try:
            corrupted = corrupt(item.load(), args.type, strength, seed=args.seed, other=other)
            print_result(write_clip_folder(args.out, corrupted))
        except WriteError:
            raise
        except UserError as error:
            num_failed += 1
            print_result(error, prefix="not corrupted: ", style="red")
    print_result(
        f"{len(items) - num_failed} of {len(items)} clips corrupted by {args.type}, {strength:g} {corruption.unit}"
    )
    return 1 if num_failed else 0


def corruptions_table() -> Table:
    """Every corruption type with its mild and strong strength, its unit, and its requirements."""
    table = Table("mild", "strong", "unit", "type", "in the clip", "requires", box=None, pad_edge=False)
    for column in table.columns[:4]:
        column.no_wrap = True
    for corruption in CORRUPTIONS.values():
        requirements = ", ".join(corruption.requirements)
        table.add_row(
            f"{corruption.mild:g}",
            f"{corruption.strong:g}",
            corruption.unit,
            corruption.name,
            corruption.description,
            requirements,
        )
    return table
