"""The sub-packages of validation/ stand on floors: none is reached from below itself."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import driveforge

ROOT = Path(driveforge.__file__).parent / "validation"


def _part(path: str) -> str:
    """The sub-package that a module is of, or the module itself where it lies at the top."""
    return path.split(".")[2]


def _imported(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("driveforge.validation."):
            parts.add(_part(node.module or ""))
    return parts


def test_no_part_imports_one_that_needs_it() -> None:
    needs: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        needs.setdefault(part, set()).update(_imported(path) - {part})
    order = list(TopologicalSorter(needs).static_order())  # raises CycleError where there is one
    assert order.index("views") < order.index("point_tracking") < order.index("camera") < order.index("measures")
