"""The wheel, installed into a separate environment with Hugging Face's ``datasets``, outside of the checkout."""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# With its dependencies that this environment lacks.
THEIRS = ("datasets", "dill", "multiprocess", "xxhash")


def run(*words: object, cwd: Path) -> str:
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the wheel, Hugging Face's library, and the other packages of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, ROOT, cwd=folder)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    if subprocess.run([*pip, "--python", str(python), "install", "--no-deps", *THEIRS]).returncode:
        pytest.skip("Hugging Face's datasets cannot be installed: no package index")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # .pth files of a folder that is added by a .pth file are not read, so the editable install is not found.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_works_with_hugging_face_datasets(python: Path, tmp_path: Path) -> None:
    code = "import datasets, driveforge.datasets.scene; print(datasets.__file__); print(driveforge.__file__)"
    theirs, ours = run(python, "-c", code, cwd=tmp_path).split()
    assert theirs.endswith("site-packages/datasets/__init__.py") and not ours.startswith(str(ROOT))
    command = python.with_name("driveforge")
    assert "demo" in run(command, "--help", cwd=tmp_path)
    run(command, "simulate", "--out", "world", "simulate=demo", "simulate.num_scenes=1", cwd=tmp_path)
    shown = run(command, "measure", "world/replay", f"run_dir={tmp_path / 'run'}", cwd=tmp_path)
    assert "track_epipolar" in shown
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    output = run(python, "-c", block.replace("runs/demo/shards", "world/replay"), cwd=tmp_path)
    assert len(output.splitlines()) >= 2
