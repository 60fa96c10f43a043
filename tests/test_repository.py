"""Rules for the whole repository: sizes and imports of modules, pinned versions, the wheel and the make targets."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PACKAGES = ("conf", "datasets", "finetune", "pipelines", "replay", "validation")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# The packages that each package may import: imports point down only.
BELOW = {
    "conf": set(),
    "datasets": set(),
    "replay": {"datasets"},
    "validation": {"datasets"},
    "finetune": {"datasets", "replay", "validation"},
    "pipelines": {"conf", "datasets", "finetune", "replay", "validation"},
}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PIPELINE_ENTRIES = 300, 50, 22


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(tree: ast.AST, path: Path) -> Iterator[str]:
    """The dotted names of all modules that are imported in ``tree``, also in functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            # Possibly modules too: ``from driveforge.datasets import scene``.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _package_of(module: str) -> str:
    """The package of driveforge that contains a module; "" for other modules."""
    top, _, rest = module.partition(".")
    return rest.split(".")[0] if top == "driveforge" else ""


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_point_down(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    modules = set(_imports(_tree(path), path))
    assert {_package_of(module) for module in modules} & set(PACKAGES) <= BELOW[package] | {package}
    tops = {module.split(".")[0] for module in modules}
    assert not tops & {"tests", *PACKAGES}, "our packages are imported from driveforge"
    if package != "pipelines":
        assert not tops & {"ray", "mlflow", "hydra"}, "only pipelines/ imports Ray, MLflow and Hydra"


def _graph(sources: dict[str, ast.AST]) -> dict[str, set[str]]:
    """The modules that each module imports when it is itself imported, not in functions or for type checking."""
    return {
        name: {module for node in _top_level(tree) for module in _imports(node, Path(name))} & sources.keys()
        for name, tree in sources.items()
    }


def _top_level(tree: ast.AST) -> Iterator[ast.stmt]:
    """The statements that run at import, without those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.With) and "TYPE_CHECKING" not in ast.unparse(node).split("\n")[0]:
            yield from _top_level(node)


def _cycle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other() -> None:
    names = {path: ".".join(("driveforge", *path.relative_to(ROOT).with_suffix("").parts)) for path in SOURCES}
    graph = _graph({name.removesuffix(".__init__"): _tree(path) for path, name in names.items()})
    assert sum(map(len, graph.values())) > 500
    assert _cycle(graph) == []


def test_a_cycle_is_found() -> None:
    sources = {
        "a": "import b",
        "b": "def f(): import a\nfrom c import d",
        "c": "try:\n    import a\nfinally:\n    pass",
    }
    assert set(_cycle(_graph({name: ast.parse(source) for name, source in sources.items()}))) == {"a", "b", "c"}
    sources["c"] = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a"
    assert _cycle(_graph({name: ast.parse(source) for name, source in sources.items()})) == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    functions = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions]
    assert [(name, length) for name, length in lengths if length > MAX_FUNCTION_LINES] == []


def test_pipelines_has_few_entries() -> None:
    entries = [path.name for path in (ROOT / "pipelines").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))]
    assert len(entries) <= MAX_PIPELINE_ENTRIES


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_is_pickled_or_evaluated(path: Path) -> None:
    modules = {module.split(".")[0] for module in _imports(_tree(path), path)}
    assert not modules & {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.Call):
            continue
        called, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        # Checkpoints are written by torch.save and read with weights_only.
        saves = called == "torch.save" and _name(path) != "finetune/training/checkpoint_file.py"
        assert not saves and called not in ("eval", "exec", "yaml.load"), f"line {node.lineno}: {called}"
        if called in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle") == "False", f"line {node.lineno}: np.load may unpickle"
        if called == "torch.load":
            assert keywords.get("weights_only") == "True", f"line {node.lineno}: torch.load may unpickle"


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in pins)
    return {canonicalize_name(name): version for name, version in pins}


def _dependencies() -> set[str]:
    """The names of all direct and transitive dependencies."""
    direct = [Requirement(line) for line in (*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"])]
    queue, seen = [(r, {"", *r.extras}) for r in direct], set[str]()
    while queue:
        requirement, extras = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or not any(not requirement.marker or requirement.marker.evaluate({"extra": e}) for e in extras):
            continue
        seen.add(name)
        requires = importlib.metadata.requires(name) or []
        queue += [(Requirement(line), {"", *requirement.extras}) for line in requires]
    return seen


def test_every_dependency_is_pinned_at_its_installed_version() -> None:
    pins, needed = _pins(), _dependencies()
    assert len(needed) > 100
    assert needed - pins.keys() == set()
    mismatched = {
        name: (pins[name], installed)
        for name in needed & pins.keys()
        if (installed := Version(importlib.metadata.version(name)).public) != Version(pins[name]).public
    }
    assert mismatched == {}


def test_known_bad_releases_cannot_be_installed() -> None:
    lightning = next(r for r in map(Requirement, PROJECT["project"]["dependencies"]) if r.name == "lightning")
    assert not lightning.specifier.contains("2.6.2") and not lightning.specifier.contains("2.6.3")
    assert _dependencies().isdisjoint({"datasets", "torchvision", "torchaudio"})


def test_hugging_face_datasets_can_be_imported_too(tmp_path: Path) -> None:
    """Even if the checkout is first on the path: its folder datasets/ has no ``__init__.py``."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("def load_dataset(): ...")
    code = "import datasets, driveforge.datasets.scene as ours; print(datasets.load_dataset, ours.Scene)"
    search_path = os.pathsep.join([str(ROOT), str(tmp_path)])
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": search_path})
    assert result.returncode == 0, result.stderr


def test_the_wheel_contains_every_file_and_the_command(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("driveforge-*.whl")
    archive = zipfile.ZipFile(wheel)
    files = {
        f"driveforge/{path.relative_to(ROOT).as_posix()}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix in (".py", ".yaml", ".css", ".mjs", ".html", ".svg", ".json", ".safetensors")
    }
    assert files - set(archive.namelist()) == set()
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "driveforge = driveforge.pipelines.cli:main" in archive.read(entry_points).decode()
    assert {name.split("/")[0] for name in archive.namelist()} == {"driveforge", "driveforge-0.1.0.dist-info"}


@pytest.mark.parametrize("target", ["setup", "demo", "test", "test-slow", "test-faults", "format"])
def test_make_targets_work_in_any_folder(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    output = subprocess.run(
        ["make", "--no-print-directory", "-n", target], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert str(tmp_path) not in output
    assert output.index("constraints.txt torch==") < output.index("--constraint constraints.txt --editable .")
    assert re.search(rf"torch=={re.escape(_pins()['torch'])}$", output, re.MULTILINE)


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "exec make test" in script.read_text()
