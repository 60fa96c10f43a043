"""The version of the code that made a model: the package's, and the commit if it runs from a checkout."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import driveforge


def read_code_version() -> dict[str, str]:
    """``version`` of the package and ``commit``, which ends with "-dirty" if files were changed; "" if unknown."""
    return {"version": version("driveforge"), "commit": _read_commit(Path(driveforge.__file__).resolve().parents[1])}


def _read_commit(checkout: Path) -> str:
    # An installed package may lie in the checkout of something else, whose commit would be wrong.
    if not (checkout / ".git").exists():
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
