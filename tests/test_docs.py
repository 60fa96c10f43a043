"""The Python and the commands of the pages of ``docs/`` work."""

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from driveforge.pipelines.commands.catalog import COMMANDS
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.sweep import check_combinations, list_combinations
from driveforge.validation.catalog import DEFINITIONS
from driveforge.validation.measure_definition import FAMILIES

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def commands() -> Iterator[list[str]]:
    """Every ``driveforge`` command of the pages' shell blocks and code spans, as words."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        spans = [" ".join(span.split()) for span in re.findall(r"`(driveforge [a-z]+ [^`]*=[^`]*)`", text)]
        for line in "\n".join([*blocks, *spans]).splitlines():
            words = shlex.split(line.split("#")[0])
            if "driveforge" in words:
                yield words[words.index("driveforge") + 1 :]


def test_the_python_of_the_api_page_runs() -> None:
    result = doctest.testfile(str(ROOT / "docs" / "python-api.md"), module_relative=False)
    assert result.attempted > 10 and result.failed == 0


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_docs_is_valid(words: list[str]) -> None:
    names = {command.name: command for command in COMMANDS}
    if words[0].startswith("--"):
        return
    command = names[words[0]]
    if command.reads_overrides:
        check_combinations(list_combinations([words[1]], [word for word in words[2:] if "=" in word]), [])
        return
    data = ["data=nuscenes", "data.root=DIR"] if any(word.startswith("data.version=") for word in words) else []
    compose([*command.presets, *data, *(word for word in words[1:] if "=" in word and not word.startswith("--"))])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_are_valid(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_page_of_measures_describes_every_measure_with_its_unit_and_code(name: str) -> None:
    """In the table of its family."""
    definition = DEFINITIONS[name]
    family = (ROOT / "docs" / "measures.md").read_text().split(f"## {definition.family.capitalize()}\n")[1]
    table = [line for line in family.split("\n## ")[0].splitlines() if line.startswith("|")]
    rows = [line for line in table if f"`{name}`" in line.split(" | ")[0]]
    assert len(rows) == 1
    _, unit, code, *described = (cell.strip() for cell in re.split(r"(?<!\\)\|", rows[0].strip("|")))
    assert (unit, code) == (definition.unit.symbol, f"`{definition.code}`")
    assert len(described) == 3 and all(described)


def test_the_page_of_measures_shows_a_picture_of_every_family() -> None:
    page = (ROOT / "docs" / "measures.md").read_text()
    assert re.findall(r"!\[[^]]*\]\(measures/(\w+)\.png\)", page) == list(FAMILIES)
