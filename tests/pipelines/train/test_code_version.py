"""The code version in the lineage of a model."""

import subprocess
from pathlib import Path

import pytest

import driveforge
from driveforge.pipelines.train.code_version import read_code_version


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the package seems to be in."""
    package = tmp_path / "checkout" / "driveforge"
    package.mkdir(parents=True)
    monkeypatch.setattr(driveforge, "__file__", str(package / "__init__.py"))
    return package.parent


def git(checkout: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(checkout), *identity, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_checkout_has_a_commit_and_says_if_files_were_changed(checkout: Path) -> None:
    git(checkout, "init", "--quiet")
    (checkout / "a.py").write_text("a")
    git(checkout, "add", "a.py")
    git(checkout, "commit", "--quiet", "--message", "one")
    head = git(checkout, "rev-parse", "HEAD")
    assert read_code_version()["commit"] == head
    (checkout / "a.py").write_text("b")
    assert read_code_version()["commit"] == f"{head}-dirty"


def test_an_installed_package_has_a_version_and_no_commit(checkout: Path) -> None:
    """Even if it lies in the checkout of something else."""
    git(checkout.parent, "init", "--quiet")
    found = read_code_version()
    assert found["commit"] == "" and found["version"][0].isdigit()
