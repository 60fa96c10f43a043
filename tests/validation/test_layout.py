"""The sub-packages of validation/ form layers without import cycles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import driveforge

ROOT = Path(driveforge.__file__).parent / "validation"


def _part(path: str) -> str:
    """The sub-package of a module, or the module itself at the top level."""
    return path.split(".")[2]


def _imported(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("driveforge.validation."):
            parts.add(_part(node.module or ""))
    return parts


def test_sub_packages_have_no_import_cycles() -> None:
    needs: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        needs.setdefault(part, set()).update(_imported(path) - {part})
    order = list(TopologicalSorter(needs).static_order())  # raises CycleError where there is one
    assert order.index("views") < order.index("point_tracking") < order.index("camera") < order.index("measures")
