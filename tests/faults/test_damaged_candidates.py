"""Damaged tars and commit markers of candidates are refused by name, never exported, and made again by ``generate``."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.tar_samples import scan_tar
from tests.faults.outcomes import DAMAGE, REFUSED, Record
from tests.faults.small_run import contents, run_export, run_gate
from tests.pipelines.small_plans import generate_small

Damage = Callable[[bytes, Path], bytes]


def second_half_zeroed(content: bytes, tar: Path) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def zeroed(content: bytes, tar: Path) -> bytes:
    return bytes(len(content))


def a_bit_in_a_header(content: bytes, tar: Path) -> bytes:
    return flipped(content, 110)


def a_bit_in_a_video(content: bytes, tar: Path) -> bytes:
    span = first_sample(tar)["front.mp4"]
    return flipped(content, span.offset + span.size // 2)


def a_digit_of_a_measure(content: bytes, tar: Path) -> bytes:
    span = first_sample(tar)["json"]
    described = content[span.offset : span.offset + span.size]
    (value, *_) = re.finditer(rb'"brightness":\d+\.(\d)', described)
    digit = value.start(1)
    other = b"1" if described[digit : digit + 1] != b"1" else b"2"
    return replaced(content, span.offset + digit, other)


def another_pose(content: bytes, tar: Path) -> bytes:
    span = first_sample(tar)["poses.npy"]
    poses = np.load(io.BytesIO(content[span.offset : span.offset + span.size]))
    buffer = io.BytesIO()
    np.save(buffer, poses[::-1])
    return replaced(content, span.offset, buffer.getvalue())


def one_byte_more(content: bytes, tar: Path) -> bytes:
    return content + b"\0"


def first_sample(tar: Path) -> Any:
    return next(iter(scan_tar(tar).values()))


def flipped(content: bytes, place: int) -> bytes:
    return replaced(content, place, bytes([content[place] ^ 1]))


def replaced(content: bytes, place: int, other: bytes) -> bytes:
    return content[:place] + other + content[place + len(other) :]


@pytest.mark.parametrize(
    "damage",
    [
        second_half_zeroed,
        zeroed,
        a_bit_in_a_header,
        a_bit_in_a_video,
        a_digit_of_a_measure,
        another_pose,
        one_byte_more,
    ],
)
@pytest.mark.parametrize("number", [0, 3])
def test_a_damaged_tar_is_named_and_made_again(
    run_dir: Path, damage: Damage, number: int, capsys: pytest.CaptureFixture[str], record_property: Record
) -> None:
    whole = contents(run_dir)
    tar = sorted((run_dir / "candidates").glob("*.tar"))[number]
    tar.write_bytes(damage(tar.read_bytes(), tar))
    assert tar.read_bytes() != whole[f"candidates/{tar.name}"]
    for stage in (run_gate, run_export):
        with pytest.raises(UserError, match=rf"{tar.name}: is damaged .*driveforge generate"):
            stage(run_dir)
    assert generate_small(run_dir / "candidates").num_made == 2
    assert tar.name in "".join(capsys.readouterr().out.split())
    run_gate(run_dir)
    run_export(run_dir)
    assert contents(run_dir) == whole
    record_property(DAMAGE, ["a damaged tar, made again", REFUSED])


def changed(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda marker: marker | {key: value}


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda marker: {other: value for other, value in marker.items() if other != key}


ALTERED_MARKERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another unit": changed("unit", "unit-000005"),
    "a unit that is a number": changed("unit", 1),
    "another tar": lambda marker: marker | {"tar": "unit-000005-00000000.tar"},
    "a tar outside": changed("tar", "../x.tar"),
    "a tar that is a list": changed("tar", ["x.tar"]),
    "more bytes": lambda marker: marker | {"num_bytes": marker["num_bytes"] + 1},
    "negative bytes": changed("num_bytes", -1),
    "bytes as text": lambda marker: marker | {"num_bytes": str(marker["num_bytes"])},
    "bytes as a fraction": lambda marker: marker | {"num_bytes": marker["num_bytes"] + 0.0},
    "another digest": lambda marker: marker | {"sha256": marker["sha256"][:-1] + "x"},
    "another valid digest": lambda marker: marker | {"sha256": marker["sha256"][:8] + "0" * 56},
    "an empty digest": changed("sha256", ""),
    "no digest": without("sha256"),
    "fewer samples": changed("num_samples", 1),
    "samples that are true": changed("num_samples", True),
    "no keys": without("keys"),
    "empty keys": lambda marker: marker | {"keys": [], "num_samples": 0},
    "a key less": lambda marker: marker | {"keys": marker["keys"][:1], "num_samples": 1},
    "another key": lambda marker: marker | {"keys": [marker["keys"][0], "scene-9"]},
    "a key twice": lambda marker: marker | {"keys": [marker["keys"][0]] * 2},
    "other order": lambda marker: marker | {"keys": marker["keys"][::-1]},
    "a null key": lambda marker: marker | {"keys": [None, marker["keys"][1]]},
    "an unknown key": changed("state", "fine"),
    "a list": lambda marker: [marker],
    "a number": lambda marker: 1,
    "nothing": lambda marker: None,
}


@pytest.mark.parametrize("alter", ALTERED_MARKERS.values(), ids=ALTERED_MARKERS)
def test_an_altered_marker_is_named_and_its_unit_made_again(
    run_dir: Path, alter: Callable[[dict[str, Any]], Any], capsys: pytest.CaptureFixture[str], record_property: Record
) -> None:
    whole = contents(run_dir)
    marker = run_dir / "candidates" / "_commits" / "unit-000001.json"
    marker.write_text(json.dumps(alter(json.loads(marker.read_bytes()))))
    for stage in (run_gate, run_export):
        with pytest.raises(UserError, match=r"unit-000001.*driveforge generate") as raised:
            stage(run_dir)
        assert len(str(raised.value)) <= 300
    assert generate_small(run_dir / "candidates").num_made == 2
    assert "unit-000001 is made again" in capsys.readouterr().out
    run_gate(run_dir)
    run_export(run_dir)
    assert contents(run_dir) == whole
    record_property(DAMAGE, ["an altered marker, unit made again", REFUSED])


def test_the_marker_of_another_unit_is_refused(run_dir: Path) -> None:
    commits = run_dir / "candidates" / "_commits"
    (commits / "unit-000001.json").write_bytes((commits / "unit-000000.json").read_bytes())
    with pytest.raises(UserError, match=r"unit-000001\.json: unit must be unit-000001, got unit-000000"):
        run_gate(run_dir)
    assert generate_small(run_dir / "candidates").num_made == 2


def test_an_undamaged_run_is_not_changed(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = contents(run_dir)
    assert generate_small(run_dir / "candidates").num_made == 0
    assert "again" not in capsys.readouterr().out
    run_gate(run_dir)
    run_export(run_dir)
    assert contents(run_dir) == whole
