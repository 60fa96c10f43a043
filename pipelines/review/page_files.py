"""The files of the page: HTML, styles and scripts, the same for the server and for a static copy.

Scripts are classic ones that share their top-level names, since browsers load modules neither from a file nor into
MLflow's viewer. They are named ``.mjs`` because MLflow serves ``.js`` as plain text, which browsers refuse to run.
"""

import json
from html import escape
from importlib import resources
from typing import Any

STYLE = "page.css"
SCRIPTS = ("state.mjs", "player.mjs", "filters.mjs", "cards.mjs", "score.mjs", "detail.mjs", "decide.mjs", "main.mjs")
PAGE_FILES = (STYLE, "icon.svg", *SCRIPTS)
_LOADER = "loader.mjs"


def page_html(title: str, *, is_served: bool, mlflow_run: str = "", mlflow_folder: str = "") -> str:
    """The page. In a static copy a small script of its own loads the others.

    MLflow shows an HTML artifact without its address, so there the page must know its run and its folder.
    """
    if is_served:
        tags = [
            f'<link rel="stylesheet" href="{STYLE}">',
            *(f'<script src="{name}" defer></script>' for name in SCRIPTS),
        ]
    else:
        files = f'data-style="{STYLE}" data-scripts="{" ".join(SCRIPTS)}"'
        artifact = f'data-mlflow-run="{escape(mlflow_run)}" data-mlflow-folder="{escape(mlflow_folder)}"'
        tags = [f"<script {files} {artifact}>{read_page_file(_LOADER)}</script>"]
    template = read_page_file("index.html")
    return template.replace("{title}", escape(title)).replace("{files}", "\n".join(tags))


def read_page_file(name: str) -> str:
    return resources.files("driveforge.pipelines.review.page").joinpath(name).read_text("utf-8")


def dump(value: Any) -> bytes:
    """JSON in one line, without NaN."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def data_script(name: str, content: bytes) -> bytes:
    """JSON as a script that hands it to the page: a page that is opened as a file cannot fetch anything."""
    return b"receive(%s, %s);\n" % (_quoted(name), content)


def _quoted(name: str) -> bytes:
    return b'"' + name.replace("\\", "").replace('"', "").encode() + b'"'
