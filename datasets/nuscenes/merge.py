"""Merging of synthetic tables with those of a real root, and links to the real files."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.nuscenes.checks import read_table
from driveforge.datasets.nuscenes.real_root import RealRoot
from driveforge.datasets.nuscenes.taxonomy import Row
from driveforge.datasets.nuscenes.writer import TABLES

# The tables whose rows both data sets share, with the field that identifies a row.
_VOCABULARIES = {"category": "name", "attribute": "name", "visibility": "token", "sensor": "channel"}
# Folders of nuScenes that the tables do not refer to.
_EXTRA_FOLDERS = ("maps/basemap", "maps/expansion", "maps/prediction", "maps/lanes", "can_bus")


def merge_tables(real: RealRoot, tables: Path) -> list[str]:
    """Rewrite the synthetic ``tables`` as those of ``real`` followed by the synthetic rows; returns its files by name.

    Categories, attributes, visibility levels and sensors of both are one row with the token of ``real``. Reads one
    table at a time. Raises UserError naming a table if ``real`` is damaged or has one of the synthetic tokens.
    """
    shared: dict[str, str] = {}
    files = list(_list_extra_files(real.root))
    for table in (*_VOCABULARIES, *(table for table in TABLES if table not in _VOCABULARIES)):
        path = real.tables / f"{table}.json"
        rows, added = read_table(path), read_table(tables / f"{table}.json")
        if table in _VOCABULARIES:
            added, tokens = _share_vocabulary(rows, added, _VOCABULARIES[table])
            shared |= tokens
        _check_tokens(path, rows, added)
        with (tables / f"{table}.json").open("w", encoding="utf-8") as file:
            file.writelines(_format_table([*rows, *(_replace_tokens(row, shared) for row in added)]))
        files += [row["filename"] for row in rows if table in ("sample_data", "map")]
    return list(dict.fromkeys(files))


def link_files(real: Path, out: Path, names: Sequence[str]) -> Iterator[str]:
    """Link the files ``names`` of ``real`` in ``out``; yields for each what was done.

    Hard links, or symbolic ones to another file system; files that ``real`` lacks are left out. Raises UserError if
    ``out`` has another file of that name.
    """
    base, folders = real.resolve(), set()
    for name in names:
        source, target = base / name, out / name
        if target.parent not in folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.add(target.parent)
        yield _link(source, target)


def _link(source: Path, target: Path) -> str:
    try:
        if not source.is_symlink():
            os.link(source, target)
            return "hard links"
    except FileNotFoundError:
        return "missing"
    except FileExistsError:
        raise UserError(f"{source} has the name of a synthetic file, so it cannot be merged") from None
    except OSError:  # another file system, or one without hard links
        pass
    target.symlink_to(source.resolve())
    return "symbolic links"


def _share_vocabulary(rows: Iterable[Row], added: Iterable[Row], key: str) -> tuple[list[Row], dict[str, str]]:
    """The rows of ``added`` that ``rows`` lacks, and the tokens of the others, mapped to those of ``rows``."""
    tokens = {row[key]: row["token"] for row in rows if key in row}
    own = [row for row in added if row[key] not in tokens]
    return own, {row["token"]: tokens[row[key]] for row in added if row[key] in tokens}


def _replace_tokens(row: Row, shared: dict[str, str]) -> Row:
    """``row`` with shared tokens in its fields, also in lists of tokens."""

    def replaced(value: object) -> object:
        if isinstance(value, list):
            return [replaced(item) for item in value]
        return shared.get(value, value) if isinstance(value, str) else value

    return {key: replaced(value) if "token" in key else value for key, value in row.items()}


def _check_tokens(path: Path, rows: Iterable[Row], added: Iterable[Row]) -> None:
    tokens = {row["token"] for row in added}
    for row in rows:
        if row["token"] in tokens:
            raise UserError(
                f"{path}: token {shorten(row['token'])} is that of a synthetic row; give a root that this export was "
                "not merged with before"
            )


def _format_table(rows: Sequence[Row]) -> Iterator[str]:
    yield "[\n"
    for number, row in enumerate(rows, 1):
        yield json.dumps(row) + (",\n" if number < len(rows) else "\n")
    yield "]\n"


def _list_extra_files(real: Path) -> Iterator[str]:
    for folder in _EXTRA_FOLDERS:
        for path in sorted((real / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(real).as_posix()
