import argparse
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from driveforge.datasets.disclosure import mark_generated
from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.data_card import Provenance
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.packing import AcceptedSample, pack_shards
from driveforge.datasets.webdataset_shards.source import ShardSource
from driveforge.datasets.webdataset_shards.tar_samples import read_samples, scan_tar
from driveforge.datasets.webdataset_shards.tarball import summarize_tar, write_tar
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.export.verify import main, verify
from tests.datasets.small_clips import small_clip
from tests.defaults import export_settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tar = tmp_path / "candidates.tar"
    write_tar(tar, [(f"drive-{i}", clip_members(small_clip(f"drive-{i}", seed=i), {})) for i in range(6)])
    samples = [AcceptedSample(tar=tar, key=key, members=spans) for key, spans in scan_tar(tar).items()]
    pack_shards(samples, tmp_path / "shards", export_settings(min_shards=4), Provenance())
    return tmp_path / "shards"


def first_shard(root: Path) -> Path:
    return root / str(json.loads((root / "index.json").read_bytes())["shards"][0]["name"])


def rewrite_first_sample(root: Path, change: Callable[[str, dict[str, bytes]], tuple[str, dict[str, bytes]]]) -> None:
    """Rewrite the first shard with its first sample changed, and the index to match its bytes."""
    index = json.loads((root / "index.json").read_bytes())
    entry = index["shards"][0]
    (first, *others) = read_samples(root / entry["name"])
    write_unchecked(root / entry["name"], [change(*first), *others])
    summary = summarize_tar(root / entry["name"])
    index["num_bytes"] += summary.num_bytes - entry["num_bytes"]
    entry.update(num_bytes=summary.num_bytes, sha256=summary.sha256, keys=list(summary.keys))
    (root / "index.json").write_text(json.dumps(index))


def write_unchecked(path: Path, samples: list[tuple[str, dict[str, bytes]]]) -> None:
    with tarfile.open(path, "w") as tar:
        for key, members in samples:
            for name, content in members.items():
                member = tarfile.TarInfo(f"{key}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def test_an_intact_export_has_no_problems(root: Path) -> None:
    report = verify(root)
    assert report.ok and report.problems == ()
    assert (report.num_shards, report.num_samples) == (4, 6)
    assert report.num_bytes == sum(path.stat().st_size for path in root.glob("*.tar"))


def test_a_flipped_byte_is_found_wherever_it_is(root: Path) -> None:
    for path in sorted(root.iterdir()):
        whole = path.read_bytes()
        if path.name == "index.json":
            continue
        for offset in (0, len(whole) // 2, len(whole) - 1):
            flipped = bytearray(whole)
            flipped[offset] ^= 1
            path.write_bytes(flipped)
            assert any(path.name in problem and "sha256" in problem for problem in verify(root).problems)
        path.write_bytes(whole)
    assert verify(root).ok


def test_damage_that_decoders_accept_is_found_by_the_digest_of_the_shard(root: Path) -> None:
    shard = first_shard(root)
    whole, spans = shard.read_bytes(), next(iter(scan_tar(shard).values()))
    # A bit of a coefficient, the last bit of a number, a letter of the caption: image, poses and text stay valid.
    places = {
        "thumb.jpg": spans["thumb.jpg"].offset + spans["thumb.jpg"].size // 2,
        "poses.npy": spans["poses.npy"].offset + spans["poses.npy"].size - 4 * 8 - 8,
        "json": whole.index(b'"caption":"') + len(b'"caption":"'),
    }
    for member, place in places.items():
        damaged = bytearray(whole)
        damaged[place] ^= 1
        shard.write_bytes(damaged)
        assert next(iter(read_samples(shard)))[1][member] != whole[spans[member].offset :][: spans[member].size]
        assert verify(root).problems == (f"{shard.name}: differs from its sha256 in the index",), member


def test_a_shard_truncated_at_a_member_boundary_is_found(root: Path) -> None:
    shard = first_shard(root)
    last = list(scan_tar(shard).items())[-1]
    boundary = min(span.offset for span in last[1].values()) - 512
    shard.write_bytes(shard.read_bytes()[:boundary])
    problems = verify(root).problems
    assert any("bytes, the index says" in problem for problem in problems)
    assert any("is damaged" in problem and "truncated" in problem for problem in problems)


def test_a_shard_truncated_inside_a_member_is_found(root: Path) -> None:
    shard = first_shard(root)
    shard.write_bytes(shard.read_bytes()[:3000])
    assert any(shard.name in problem for problem in verify(root).problems)


def test_missing_and_unlisted_files_are_found(root: Path) -> None:
    shard = first_shard(root)
    (root / "stray.tar").write_bytes(shard.read_bytes())
    shard.unlink()
    (root / "README.md").unlink()
    assert set(verify(root).problems) == {
        "README.md: is missing",
        "stray.tar: is not in index.json",
        f"{shard.name}: is missing",
    }


ALTERED_INDICES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "splits": lambda index: index | {"splits": {"train": 5}},
    "splits of other names": lambda index: index | {"splits": {"val": 6}},
    "no splits": lambda index: index | {"splits": {}},
    "name": lambda index: index | {"name": "other-clips"},
    "unlisted documents": lambda index: index | {"files": {}},
    "split of a shard": lambda index: (
        index
        | {"shards": [index["shards"][0] | {"split": "val"}, *index["shards"][1:]], "splits": {"val": 2, "train": 4}}
    ),
    "order of keys": lambda index: (
        index | {"shards": [index["shards"][0] | {"keys": index["shards"][0]["keys"][::-1]}, *index["shards"][1:]]}
    ),
    "a missing shard": lambda index: index | {"shards": index["shards"][1:]},
    "shards in another order": lambda index: index | {"shards": index["shards"][::-1]},
}


@pytest.mark.parametrize("alter", ALTERED_INDICES.values(), ids=ALTERED_INDICES)
def test_an_index_that_disagrees_with_its_shards_is_found(root: Path, alter: Callable[[dict[str, Any]], Any]) -> None:
    path = root / "index.json"
    path.write_text(json.dumps(alter(json.loads(path.read_bytes()))))
    assert not verify(root).ok


UNREADABLE_INDICES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another version": lambda index: index | {"schema_version": 2},
    "version as text": lambda index: index | {"schema_version": "1"},
    "no version": lambda index: {key: value for key, value in index.items() if key != "schema_version"},
    "no splits": lambda index: {key: value for key, value in index.items() if key != "splits"},
    "another generator": lambda index: index | {"generator": "somebody"},
    "shards as an object": lambda index: index | {"shards": {}},
    "keys that are null": lambda index: index | {"shards": [index["shards"][0] | {"keys": None}]},
    "a shard outside": lambda index: index | {"shards": [index["shards"][0] | {"name": "../x.tar"}]},
    "a shard twice": lambda index: index | {"shards": [index["shards"][0]] * 2},
    "a file outside": lambda index: index | {"files": {"/etc/passwd": {"num_bytes": 1, "sha256": ""}}},
    "bytes as text": lambda index: index | {"num_bytes": "many"},
}


@pytest.mark.parametrize("alter", UNREADABLE_INDICES.values(), ids=UNREADABLE_INDICES)
def test_an_invalid_index_is_a_one_line_error(root: Path, alter: Callable[[dict[str, Any]], Any]) -> None:
    path = root / "index.json"
    path.write_text(json.dumps(alter(json.loads(path.read_bytes()))))
    for read in (verify, ShardSource):
        with pytest.raises(UserError, match=r"index\.json: .*; export again"):
            read(root)


def test_extra_files_are_reported_but_are_not_problems(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / ".nv-meta").mkdir()
    (root / ".DS_Store").write_bytes(b"\0")
    (root / f"{first_shard(root).name}.idx").touch()
    (root / ".train-00000.tmp").write_bytes(b"of an export that was killed")
    (root / "train-00009-deadbeef.tar").write_bytes(b"of an export that was killed")
    report = verify(root)
    assert report.ok and len(report.extras) == 5
    assert main(compose([f"run_dir={root.parent}"]), argparse.Namespace(directory=None)) == 0
    assert "not part of the export: .DS_Store, .nv-meta" in capsys.readouterr().out


def without(member: str) -> Callable[[str, dict[str, bytes]], tuple[str, dict[str, bytes]]]:
    return lambda key, members: (key, {k: v for k, v in members.items() if k != member})


def with_member(name: str, content: bytes) -> Callable[[str, dict[str, bytes]], tuple[str, dict[str, bytes]]]:
    return lambda key, members: (key, members | {name: content})


def without_key(key: str) -> Callable[[str, dict[str, bytes]], tuple[str, dict[str, bytes]]]:
    def change(sample: str, members: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
        record = {k: v for k, v in json.loads(members["json"]).items() if k != key}
        return sample, members | {"json": json.dumps(record).encode()}

    return change


def npy_bytes(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_member("weights.pkl", b"\x80"), "members weights.pkl do not belong to a sample"),
        (with_member("notes.json", b"{}"), "members notes.json do not belong to a sample"),
        (with_member("json", b"{"), "json: is not valid JSON"),
        (with_member("thumb.jpg", b"not an image"), "thumb.jpg is missing or not an image"),
        (without("thumb.jpg"), "thumb.jpg is missing or not an image"),
        (without("cam_front.mp4"), "member cam_front.mp4 is missing"),
        (with_member("cam_front.mp4", b"no video"), "cam_front.mp4: cannot be read"),
        (
            with_member("cam_front.mp4", mark_generated(clip_members(small_clip(num_frames=5), {})["cam_front.mp4"])),
            "cam_front.mp4 has 5 frames of 80x48, but its json says 9",
        ),
        (with_member("poses.npy", npy_bytes(2 * np.tile(np.eye(4), (9, 1, 1)))), "ego_to_world must be rigid"),
        (with_member("poses.npy", npy_bytes(np.full((9, 4, 4), np.nan))), "ego_to_world holds NaN"),
        (without("tracks.npz"), "member tracks.npz is missing"),
        (without("poses.npy"), "member poses.npy is missing"),
        (without("annotations.npz"), "member annotations.npz is missing"),
        (with_member("ego_motion.npz", b"no arrays"), "ego_motion.npz cannot be read"),
        (
            with_member("ego_motion.npz", clip_members(small_clip(num_frames=5), {})["ego_motion.npz"]),
            "ego_motion.npz: speed is float64 (5,), which does not fit its clip",
        ),
        (
            with_member("annotations.npz", clip_members(small_clip(), {})["tracks.npz"]),
            "annotations.npz must hold boxes_2d, cut_sides",
        ),
        (
            with_member("cam_front.mp4", clip_members(small_clip(), {})["cam_front.mp4"]),
            "cam_front.mp4 is not marked as generated",
        ),
        (without_key("digital_source_type"), "json: digital_source_type must be http://cv.iptc.org"),
        (lambda key, members: (f"x-{key}", members), "its json says clip_id"),
    ],
)
def test_an_invalid_sample_is_found_although_its_bytes_match_the_index(
    root: Path, change: Callable[[str, dict[str, bytes]], tuple[str, dict[str, bytes]]], says: str
) -> None:
    rewrite_first_sample(root, change)
    (problem,) = verify(root).problems
    assert says in problem and problem.startswith(first_shard(root).name) and "\n" not in problem


def test_a_clip_in_two_shards_and_wrong_totals_are_found(root: Path) -> None:
    index = json.loads((root / "index.json").read_bytes())
    write_tar(root / "again.tar", read_samples(first_shard(root)))
    summary = summarize_tar(root / "again.tar")
    entry = {"name": "again.tar", "split": "train", "num_samples": summary.num_samples, "num_bytes": summary.num_bytes}
    index["shards"].append(entry | {"sha256": summary.sha256, "keys": list(summary.keys)})
    (root / "index.json").write_text(json.dumps(index))
    problems = verify(root).problems
    assert any("is in" in problem and "again.tar" in problem for problem in problems)
    assert any("num_samples is 6, the sum over its shards is 8" in problem for problem in problems)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"index\.json: does not exist"):
        verify(tmp_path)


def test_the_exit_status_is_1_if_there_is_a_problem(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose([f"run_dir={root.parent}"])
    assert main(config, argparse.Namespace(directory=None)) == 0
    assert "6 clips in 4 shards" in capsys.readouterr().out
    first_shard(root).unlink()
    assert main(config, argparse.Namespace(directory=root)) == 1
    assert "is missing" in capsys.readouterr().out
