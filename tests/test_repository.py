"""What holds for the repository as a whole: its floors, its pins, its wheel, its commands."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PACKAGES = ("conf", "datasets", "finetune", "pipelines", "replay", "validation")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# What each package may import of the others: arrows point down only.
BELOW = {
    "conf": set(),
    "datasets": set(),
    "replay": {"datasets"},
    "validation": {"datasets"},
    "finetune": {"datasets", "replay", "validation"},
    "pipelines": {"conf", "datasets", "finetune", "replay", "validation"},
}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _imports(path: Path) -> Iterator[str]:
    """Every module that the file imports anywhere in it, with dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _own(module: str) -> str:
    """The package of ours that a module is in; "" for other modules."""
    top, _, rest = module.partition(".")
    return rest.split(".")[0] if top == "driveforge" else ""


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_floor_imports_only_floors_below_it(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    modules = set(_imports(path))
    assert {_own(module) for module in modules} & set(PACKAGES) <= BELOW[package] | {package}
    tops = {module.split(".")[0] for module in modules}
    assert not tops & {"tests", *PACKAGES}, "everything of ours is imported from driveforge"
    if package != "pipelines":
        assert not tops & {"ray", "mlflow", "hydra"}, "only pipelines/ knows Ray, MLflow and Hydra"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_is_pickled_or_evaluated(path: Path) -> None:
    assert not {module.split(".")[0] for module in _imports(path)} & {
        "pickle",
        "cloudpickle",
        "dill",
        "marshal",
        "shelve",
    }
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        # Lightning's checkpoints are its own format, which torch.load reads with weights_only.
        saves = called == "torch.save" and _name(path) != "finetune/training/checkpoints.py"
        assert not saves and called not in ("eval", "exec", "yaml.load"), f"line {node.lineno}: {called}"
        if called in ("np.load", "numpy.load"):
            assert given.get("allow_pickle") == "False", f"line {node.lineno}: np.load may unpickle"
        if called == "torch.load":
            assert given.get("weights_only") == "True", f"line {node.lineno}: torch.load may unpickle"


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in pins)
    return {canonicalize_name(name): version for name, version in pins}


def _needed() -> set[str]:
    """The names of all that is installed for us: what the project asks for, and what that asks for in turn."""
    direct = [Requirement(line) for line in (*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"])]
    queue, seen = [(r, {"", *r.extras}) for r in direct], set[str]()
    while queue:
        requirement, extras = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or not any(not requirement.marker or requirement.marker.evaluate({"extra": e}) for e in extras):
            continue
        seen.add(name)
        below = importlib.metadata.requires(name) or []
        queue += [(Requirement(line), {"", *requirement.extras}) for line in below]
    return seen


def test_every_package_in_use_is_pinned_at_the_version_in_use() -> None:
    pins, needed = _pins(), _needed()
    assert len(needed) > 100
    assert needed - pins.keys() == set()
    wrong = {
        name: (pins[name], installed)
        for name in needed & pins.keys()
        if (installed := Version(importlib.metadata.version(name)).public) != Version(pins[name]).public
    }
    assert wrong == {}


def test_known_bad_releases_cannot_be_installed() -> None:
    lightning = next(r for r in map(Requirement, PROJECT["project"]["dependencies"]) if r.name == "lightning")
    assert not lightning.specifier.contains("2.6.2") and not lightning.specifier.contains("2.6.3")
    assert _needed().isdisjoint({"datasets", "torchvision", "torchaudio"})


def test_the_datasets_of_hugging_face_lie_beside_ours(tmp_path: Path) -> None:
    """Even where the checkout is searched first: its folders are no packages by themselves."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("def load_dataset(): ...")
    code = "import datasets, driveforge.datasets.scene as ours; print(datasets.load_dataset, ours.Scene)"
    places = os.pathsep.join([str(ROOT), str(tmp_path)])
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": places})
    assert result.returncode == 0, result.stderr


def test_the_wheel_holds_every_file_of_the_packages_and_the_command(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("driveforge-*.whl")
    held = zipfile.ZipFile(wheel)
    files = {
        f"driveforge/{path.relative_to(ROOT).as_posix()}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix in (".py", ".yaml", ".css", ".js", ".json", ".safetensors")
    }
    assert files - set(held.namelist()) == set()
    (entry_points,) = (name for name in held.namelist() if name.endswith("entry_points.txt"))
    assert "driveforge = driveforge.pipelines.cli:main" in held.read(entry_points).decode()
    assert {name.split("/")[0] for name in held.namelist()} == {"driveforge", "driveforge-0.1.0.dist-info"}


@pytest.mark.parametrize("target", ["setup", "demo", "test", "test-slow", "test-faults", "format"])
def test_make_knows_its_targets_in_any_folder(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    said = subprocess.run(
        ["make", "--no-print-directory", "-n", target], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert str(tmp_path) not in said
    alone, all_else = said.index("constraints.txt torch=="), said.index("--constraint constraints.txt --editable .")
    assert alone < all_else
    assert re.search(rf"torch=={re.escape(_pins()['torch'])}$", said, re.MULTILINE)


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "exec make test" in script.read_text()
