"""Rollback: make the previous champion the champion again."""

import argparse

from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.registry.versions import open_registry, promotion_lock


def main(config: Config, args: argparse.Namespace) -> None:
    registry = open_registry(config.run, config.tracking, config.promote.registered_as)
    with promotion_lock(config.run):
        demoted, champion = registry.roll_back()
    since = f", champion since {demoted.champion_since}," if demoted.champion_since else ""
    print_result(f"{champion} is champion again; {demoted}{since} was rolled back and will not be promoted again")
