import json
from pathlib import Path

import pytest

from datasets.errors import UserError
from pipelines.reviewing.overrides import read_overrides

GOOD = {"verdict": "accept", "who": "anna", "why": "the truck is that long"}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "overrides.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_reviewers_word_is_read(tmp_path: Path) -> None:
    overrides = read_overrides(written(tmp_path, {"a": GOOD, "b": {**GOOD, "verdict": "reject"}}))
    assert {clip_id: override.state for clip_id, override in overrides.items()} == {"a": "accepted", "b": "rejected"}
    assert overrides["a"].who == "anna"


def test_no_file_is_no_override(tmp_path: Path) -> None:
    assert read_overrides(tmp_path / "overrides.json") == {}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is not JSON"),
        ([], "must be an object"),
        ({"a": {"verdict": "accept"}}, "a: must have verdict, who, why"),
        ({"a": {**GOOD, "verdict": "accepted"}}, "'accepted' is not one of accept, reject"),
        ({"a": {**GOOD, "why": " "}}, "say who decided and why"),
        ({"a": {**GOOD, "more": "x"}}, "must have verdict, who, why"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, content: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_overrides(written(tmp_path, content))
