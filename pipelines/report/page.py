"""The pages of reports: HTML with a picture beside it, and tables."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from driveforge.datasets.files.atomic import write_atomic

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; background: white; border-radius: 6px; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: 0.25rem 0.8rem; text-align: left; border-bottom: 1px solid #8884; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


def write_page(path: Path, *, title: str, paragraphs: Sequence[str], picture: str, tables: Iterable[str]) -> None:
    """Write a page with ``paragraphs`` of plain text, the picture of that file name, and ``tables`` as HTML."""
    body = "\n".join(f"<p>{escape(text)}</p>" for text in paragraphs)
    content = (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n"
        f'<img src="{escape(picture)}" alt="{escape(title)}">\n' + "\n".join(tables) + "\n</html>\n"
    )
    write_atomic(path, content.encode())


def html_table(header: Sequence[str], rows: Iterable[Sequence[str | int | float]]) -> str:
    """A table; numbers are aligned on the right, NaN is left blank."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = ("".join(map(_cell, row)) for row in rows)
    return f"<table><tr>{head}</tr>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _cell(value: str | int | float) -> str:
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    return f'<td class="number">{format_number(value)}</td>'


def format_number(value: float) -> str:
    """Three digits; "" for NaN, "none accepted" for infinite costs per accepted clip."""
    if np.isnan(value):
        return ""
    if np.isinf(value):
        return "none accepted"
    return str(value) if isinstance(value, int) else f"{value:.3g}"
