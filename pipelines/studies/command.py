"""Studies: experiments that anyone can run again, each with a page of what was found."""

import argparse
from pathlib import Path

from driveforge.pipelines.config.config import Config


def main(config: Config, args: argparse.Namespace) -> None:
    page = args.out or Path("docs") / f"study-{args.what}.md"
    if args.what == "validator":
        from driveforge.pipelines.studies.validator.study import study_validator

        study_validator(config, page)
    else:
        from driveforge.pipelines.studies.forgetting.study import study_forgetting

        study_forgetting(config, page)
