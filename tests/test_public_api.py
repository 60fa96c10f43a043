"""The public API of ``driveforge``, and the examples of its documentation."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import driveforge

ROOT = Path(__file__).parents[1]


def test_the_examples_of_the_docstring_run() -> None:
    assert doctest.testmod(driveforge, raise_on_error=True).attempted >= 6


@pytest.mark.parametrize("name", driveforge.__all__)
def test_every_name_exists_and_has_a_docstring(name: str) -> None:
    assert (getattr(driveforge, name).__doc__ or "").strip()
    assert name in dir(driveforge)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'mesure'"):
        driveforge.mesure  # noqa: B018


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, driveforge; print([m for m in ('numpy', 'torch', 'ray', 'cv2') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
