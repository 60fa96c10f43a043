import json
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.validate.overrides import read_overrides

GOOD = {"verdict": "accept", "reviewer": "anna", "reason": "the truck is that long"}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "overrides.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_overrides_are_read(tmp_path: Path) -> None:
    overrides = read_overrides(written(tmp_path, {"a": GOOD, "b": {**GOOD, "verdict": "reject"}}))
    assert {clip_id: override.state for clip_id, override in overrides.items()} == {"a": "accepted", "b": "rejected"}
    assert overrides["a"].reviewer == "anna"


def test_without_a_file_there_are_no_overrides(tmp_path: Path) -> None:
    assert read_overrides(tmp_path / "overrides.json") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("\0" * 100, "is not valid JSON"),
        ([], "must be an object"),
        (None, "must be an object"),
        ({"a": None}, "a must be"),
        ({"a": {"verdict": "accept"}}, "a.reviewer is missing"),
        ({"a": {**GOOD, "verdict": "accepted"}}, "a.verdict must be 'accept' or 'reject', got \"accepted\""),
        ({"a": {**GOOD, "verdict": ["accept"]}}, "a.verdict must be"),
        ({"a": {**GOOD, "reviewer": 3}}, "a.reviewer must be"),
        ({"a": {**GOOD, "reason": " "}}, "a: reviewer and reason must not be empty"),
        ({"a": {**GOOD, "more": "x"}}, "a.more is not a known key"),
        (json.dumps({"a": GOOD})[:-1] + ', "a": {}}', "duplicate key 'a'"),
    ],
)
def test_errors_name_the_clip_and_the_key(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_overrides(written(tmp_path, content))
    assert "overrides.json" in str(error.value) and len(str(error.value)) <= 300
