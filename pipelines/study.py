"""The validator study: what the gate sees of every corruption, what it costs in good clips, and how peers fare."""

import argparse

from rich import get_console

from pipelines.config import Config, StudyConfig
from pipelines.study_clips import CONDITIONS, GoodClip
from pipelines.study_report import write_report
from pipelines.study_trials import Case, run_cases
from validation.corruptions.catalogue import CORRUPTIONS

# Clips of different parts never share a number, so no scene is on both sides.
AUDIT_FROM, SPOILT_FROM = 100_000, 200_000


def main(config: Config, args: argparse.Namespace) -> None:
    """Make all trials that are not made yet, and write the report."""
    settings = config.study
    trials = {
        rows: run_cases(cases_of(settings, rows), config.run_dir / "study" / f"validator-{rows}.jsonl")
        for rows in settings.rows
    }
    write_report(args.out, trials, settings)
    get_console().print(str(args.out), soft_wrap=True)


def cases_of(settings: StudyConfig, rows: int) -> list[Case]:
    """Clips to calibrate on, clips to audit, and ordinary clips spoilt in every way."""

    def good(number: int) -> GoodClip:
        return GoodClip(number=number, rows=rows, seed=settings.seed)

    kinds = tuple(kind for kind, about in CORRUPTIONS.items() if "cameras" not in about.needs)
    to_calibrate = [Case(good=good(n)) for n in range(settings.num_good)]
    to_audit = [Case(good=good(AUDIT_FROM + n), with_peers=True) for n in range(settings.num_audit)]
    spoilt = [Case(good=good(SPOILT_FROM + n), kinds=kinds, with_peers=True) for n in _ordinary(settings.num_spoilt)]
    return [*to_calibrate, *to_audit, *spoilt]


def _ordinary(count: int) -> list[int]:
    usual = CONDITIONS.count("usual")
    return [len(CONDITIONS) * (n // usual) + n % usual for n in range(count)]
