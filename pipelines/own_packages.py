"""Whether the package ``datasets`` is ours: Hugging Face's has that name too, and one environment holds one of them."""

import importlib.util
import sys
from pathlib import Path

_ADVICE = "install driveforge into an environment of its own (python -m venv; README.md, Start)"
# A file of Hugging Face's package that ours has not.
_THEIRS = "arrow_dataset.py"


def require_own_datasets() -> None:
    """Ends the command in one line where another ``datasets`` is found first, or was overwritten by ours."""
    ours = Path(__file__).resolve().parents[1] / "datasets"
    found = importlib.util.find_spec("datasets")
    place = Path(found.origin).resolve().parent if found and found.origin else None
    if place != ours:
        _end(f"another package called datasets, in {place}, is in the way")
    if (ours / _THEIRS).exists():
        _end(f"Hugging Face's datasets and driveforge's lie in one folder, {ours}, and spoil each other")


def _end(problem: str) -> None:
    print(f"driveforge: {problem}; {_ADVICE}", file=sys.stderr)
    sys.exit(2)
