"""Studies: experiments that anyone can run again, each with a page of what was found."""

import argparse
from pathlib import Path

from pipelines.settings.config import Config


def main(config: Config, args: argparse.Namespace) -> None:
    page = args.out or Path("docs") / f"study-{args.what}.md"
    if args.what == "validator":
        from pipelines.validator_study.study import study_validator

        study_validator(config, page)
    else:
        from pipelines.forgetting_study.study import study_forgetting

        study_forgetting(config, page)
