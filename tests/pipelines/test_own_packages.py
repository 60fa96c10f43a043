"""Beside Hugging Face's datasets the command ends in one line that says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(cwd: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", "from pipelines.cli import main; raise SystemExit(main(['--help']))"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=60)


def told(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    return result.stderr


def test_another_package_of_the_name_is_told(tmp_path: Path) -> None:
    theirs = tmp_path / "datasets"
    theirs.mkdir()
    (theirs / "__init__.py").write_text("raise RuntimeError('imported')\n")
    line = told(run(tmp_path, tmp_path, ROOT))
    assert f"another package called datasets, in {theirs.resolve()}, is in the way" in line
    assert "environment of its own" in line


def test_two_packages_in_one_folder_are_told(tmp_path: Path) -> None:
    for package in ("datasets", "pipelines"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(tmp_path, tmp_path, ROOT).returncode == 0
    (tmp_path / "datasets" / "arrow_dataset.py").write_text("")
    assert "lie in one folder" in told(run(tmp_path, tmp_path, ROOT))
