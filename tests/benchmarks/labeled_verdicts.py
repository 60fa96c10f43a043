"""Verdicts on the labeled clips: ``python -m tests.benchmarks.labeled_verdicts PAGE``.

It is the section "Labeled generator output" of the validator study, which takes hours as a whole.
"""

import argparse
from pathlib import Path

from driveforge.datasets.files.atomic import write_atomic
from driveforge.pipelines.processes.threads import limit_threads
from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.validator.generated import generated_section
from driveforge.pipelines.studies.validator.settings import ValidatorStudy

HEAD = "# Labeled generator output\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page
    limit_threads()
    write_atomic(page, (HEAD + generated_section(load_settings(ValidatorStudy).seed)).encode())
    print(page)


if __name__ == "__main__":
    main()
