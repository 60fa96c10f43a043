"""Rollback: the champion before this one is champion again."""

import argparse

from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import show
from driveforge.pipelines.registry.versions import registry_of, sole_promoter


def main(config: Config, args: argparse.Namespace) -> None:
    registry = registry_of(config)
    with sole_promoter(config.run):
        fallen, champion = registry.roll_back()
    since = f", champion since {fallen.since}," if fallen.since else ""
    text = f"{champion} is champion again; {fallen}{since} was taken back and will not be promoted again"
    show(text)
