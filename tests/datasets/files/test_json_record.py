import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from driveforge.datasets.errors import MAX_LENGTH, UserError
from driveforge.datasets.files.json_record import parse_record, read_record, validate_record


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    name: str
    num_bytes: int
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.num_bytes < 0:
            raise UserError(f"shard {self.name} cannot hold {self.num_bytes} bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    format: Literal[1]
    shards: tuple[Shard, ...]
    rate: float = 0.5
    last: Shard | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


GOOD: dict[str, Any] = {"format": 1, "shards": [{"name": "a", "num_bytes": 3, "keys": ["x", "y"]}]}


def test_a_record_is_read_with_its_types(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps(GOOD | {"rate": 1, "notes": {"any": [1, "b", None]}}))
    wanted = Index(
        format=1,
        shards=(Shard(name="a", num_bytes=3, keys=("x", "y")),),
        rate=1.0,
        notes={"any": [1, "b", None]},
    )
    assert read_record(path, Index) == wanted
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as some editors begin a file
    assert read_record(path, Index) == wanted
    assert validate_record({"a": 1.5}, dict[str, float], "scores") == {"a": 1.5}


def shard(**changes: Any) -> dict[str, Any]:
    return GOOD | {"shards": [GOOD["shards"][0], GOOD["shards"][0] | changes]}


DEEP: Any = []
for _ in range(150):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "must be an object, got []"),
        (None, "must be an object, got null"),
        ({"format": 1}, "shards is missing"),
        (GOOD | {"format": 2}, "format must be 1, got 2"),
        (GOOD | {"shards": {}}, "shards must be a list, got {}"),
        (GOOD | {"shards": None}, "shards must be a list, got null"),
        (GOOD | {"shads": []}, "shads is not a known key"),
        (GOOD | {"rate": "0.5"}, 'rate must be a valid number, got "0.5"'),
        (GOOD | {"rate": float("nan")}, "rate holds NaN or infinite values"),
        (GOOD | {"rate": 10**400}, "rate must be a finite number"),
        (GOOD | {"notes": {"a": [1.0, float("inf")]}}, "notes.a[1] holds NaN or infinite values"),
        (GOOD | {"notes": DEEP}, "is nested too deeply"),
        (shard(num_bytes=3.0), "shards[1].num_bytes must be a valid integer, got 3.0"),
        (shard(num_bytes=True), "shards[1].num_bytes must be a valid integer, got true"),
        (shard(num_bytes=-1), "shards[1]: shard a cannot hold -1 bytes"),
        (shard(keys=["x", ["y"]]), 'shards[1].keys[1] must be a valid string, got ["y"]'),
        (shard(name="x" * 5000, num_bytes=-1), "shards[1]: shard xxx"),
        (shard(name=["x" * 5000]), "shards[1].name must be a valid string"),
        (GOOD | {"k" * 5000: 1}, "is not a known key"),
    ],
)
def test_an_error_names_the_file_the_key_and_what_was_expected(value: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError) as caught:
        read_record(path, Index, "export again")
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and says in message and message.endswith("; export again")
    assert len(message) <= MAX_LENGTH and "\n" not in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"format": 1, "sha', "Unterminated string"),
        (b"\x00" * 40, "Expecting value"),
        (b'{"format": "\xff"}', "byte 12 is not UTF-8"),
        (json.dumps(GOOD).encode("utf-16"), "is not UTF-8"),
        (b'{"format": "\\ud83d"}', "surrogate"),
        (b'{"format": 1, "shards": [], "format": 1}', "duplicate key 'format' in one object"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"format": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b"{} {}", "Extra data"),
    ],
)
def test_invalid_json_is_an_error(content: bytes, says: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_record(content, Index, "a.tar: drive-1: json")
    message = str(caught.value)
    assert message.startswith("a.tar: drive-1: json: is not valid JSON: ") and says in message
    assert len(message) <= MAX_LENGTH and "\n" not in message


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for path, says in ((tmp_path, "is not a file"), (tmp_path / "gone.json", "cannot be read (No such file")):
        with pytest.raises(UserError) as caught:
            read_record(path, Index)
        assert str(caught.value).startswith(f"{path}: {says}")


def test_a_message_is_cut_in_its_middle() -> None:
    message = str(UserError("/a/b.json: " + "x" * 1000 + "; make it again"))
    assert len(message) == MAX_LENGTH and message.startswith("/a/b.json: x") and message.endswith("; make it again")
