"""``driveforge show``: every setting and where it came from."""

import argparse
import json

from rich.console import Console
from rich.table import Table

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.build import format_value, with_suggestion
from driveforge.pipelines.config.compose import Resolved
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.origins import default_origin
from driveforge.pipelines.config.saved import flatten, to_plain
from driveforge.pipelines.console import plain_text


def main(config: Config, args: argparse.Namespace) -> int:
    rows = list_settings(config, args.resolved, args.prefix or "")
    if args.json:
        records = {key: {"value": value, "origin": origin} for key, value, origin in rows}
        print(json.dumps(records, indent=2, ensure_ascii=False))
        return 0
    table = Table("setting", "from", box=None, pad_edge=False, show_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for key, value, origin in rows:
        table.add_row(plain_text(f"{key}={format_value(value)}"), plain_text(origin, len(origin), "dim"))
    Console().print(table)
    return 0


def list_settings(config: Config, resolved: Resolved, prefix: str) -> list[tuple[str, object, str]]:
    """The key, value and origin of every setting at or below the dotted key ``prefix``; all if it is empty."""
    values = dict(flatten(to_plain(config)))
    shown = [key for key in values if not prefix or key == prefix or key.startswith(f"{prefix}.")]
    if not shown:
        parts = [key.split(".") for key in values]
        known = {".".join(words[:count]) for words in parts for count in range(1, len(words) + 1)}
        raise UserError(with_suggestion(f"no setting {prefix}", prefix, known))
    return [(key, values[key], find_origin(key, resolved)) for key in shown]


def find_origin(key: str, resolved: Resolved) -> str:
    """Where ``key`` was set: a layer, the choice of its group, or a file of defaults."""
    group, _, last = key.partition(".")
    if last == "name" and group in resolved.choosers:
        return resolved.choosers[group]
    return resolved.origins.get(key) or default_origin(key, resolved.choices, resolved.choosers)
