import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset import TarWriter

from driveforge.datasets.errors import UserError
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.datasets.webdataset_shards.tarball import summarize_tar, write_tar

KEYS = st.from_regex(r"[a-z0-9_-]{1,60}", fullmatch=True)
MEMBERS = st.dictionaries(
    st.sampled_from(["json", "a.mp4", "poses.npy", "thumb.jpg"]), st.binary(max_size=2000), min_size=1
)


@settings(deadline=None)
@given(samples=st.dictionaries(KEYS, MEMBERS, max_size=5))
def test_samples_survive_and_are_summarized(
    tmp_path_factory: pytest.TempPathFactory, samples: dict[str, dict[str, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "t.tar"
    summary = write_tar(path, samples.items())
    assert dict(read_samples(path)) == samples
    assert summary.keys == tuple(samples) and summary.num_samples == len(samples)
    assert summary == summarize_tar(path) and summary.num_bytes == path.stat().st_size


def test_bytes_do_not_depend_on_time_and_owner(tmp_path: Path) -> None:
    sample = {"json": b"{}", "poses.npy": b"xyz"}
    first = write_tar(tmp_path / "a.tar", [("k", sample)])
    second = write_tar(tmp_path / "b.tar", [("k", dict(reversed(sample.items())))])
    assert first.sha256 == second.sha256
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert {(m.mtime, m.uid, m.uname) for m in tar} == {(0, 0, "driveforge")}


def test_bytes_are_those_of_webdatasets_writer_and_zeros(tmp_path: Path) -> None:
    samples = [("a", {"json": b"{}", "cam.mp4": bytes(3_000_001)}), ("b", {"thumb.jpg": b"x" * 512})]
    ours = write_tar(tmp_path / "ours.tar", samples)
    options = {"user": "driveforge", "group": "driveforge", "mtime": 0, "encoder": False}
    with TarWriter(str(tmp_path / "theirs.tar"), **options) as tar:
        for key, members in samples:
            tar.write({"__key__": key, **members})
    content = (tmp_path / "ours.tar").read_bytes()
    theirs = (tmp_path / "theirs.tar").read_bytes()
    assert content.startswith(theirs) and not any(content[len(theirs) :])
    assert ours.sha256 == hashlib.sha256(content).hexdigest()


def test_a_tar_of_arrays_is_not_taken_for_a_zip(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.arange(5))
    write_tar(tmp_path / "t.tar", [("k", {"tracks.npz": buffer.getvalue()})])
    assert zipfile.is_zipfile(buffer) and not zipfile.is_zipfile(tmp_path / "t.tar")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([("scene-1.5s", {"json": b""})], "key 'scene-1.5s' may hold only"),
        ([("k", {"json": b""}), ("k", {"json": b""})], "key 'k' is used twice"),
        ([("k", {})], "'k' has no members"),
        ([("k", {"weights.pkl": b""})], "member 'weights.pkl' is not one of"),
        ([("k", {"pyd": b""})], "member 'pyd' is not one of"),
    ],
)
def test_invalid_samples_are_refused(tmp_path: Path, samples: list[tuple[str, dict[str, bytes]]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_tar(tmp_path / "t.tar", samples)


def test_samples_are_written_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    sizes: list[int] = []

    def samples() -> Iterator[tuple[str, dict[str, bytes]]]:
        for i in range(4):
            sizes.append(path.stat().st_size)
            yield f"k{i}", {"json": bytes(2_000_000)}

    write_tar(path, samples())
    assert sizes == sorted(sizes) and sizes[-1] > 4_000_000


def test_a_damaged_tar_has_no_summary(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", [("k", {"json": bytes(5000)})])
    (tmp_path / "t.tar").write_bytes((tmp_path / "t.tar").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"t\.tar"):
        summarize_tar(tmp_path / "t.tar")
