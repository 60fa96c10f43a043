"""What a command says beside its results: one line at a time, on stderr."""

import sys


def say(line: str) -> None:
    """Print one line of ours at once, as it is: what it names may look like markup."""
    print(f"driveforge: {line}", file=sys.stderr, flush=True)
