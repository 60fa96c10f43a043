import io
import tarfile
from pathlib import Path

import pytest

from datasets.errors import UserError
from datasets.tar_samples import read_members, read_samples, scan_tar


def make_tar(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    return path


def test_members_are_grouped_by_what_stands_before_the_first_dot(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "t.tar", ["b.json", "b.cam_front.mp4", "a.json"])
    assert list(read_samples(path)) == [
        ("b", {"json": b"b.json", "cam_front.mp4": b"b.cam_front.mp4"}),
        ("a", {"json": b"a.json"}),
    ]


@pytest.mark.parametrize("names", [["a.json", "a.json"], ["nodot"], [".hidden"]])
def test_strange_members_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(UserError, match=r"t\.tar: member"):
        scan_tar(make_tar(tmp_path / "t.tar", names))


def test_missing_and_cut_tars_are_named(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "t.tar", ["a.json", "b.json"])
    spans = scan_tar(path)["b"]
    with pytest.raises(UserError, match=r"absent\.tar"):
        scan_tar(tmp_path / "absent.tar")
    path.write_bytes(path.read_bytes()[: spans["json"].offset + 2])
    with pytest.raises(UserError, match=r"t\.tar: cut short inside json"):
        read_members(path, spans)
    path.write_bytes(b"x" * 700)
    with pytest.raises(UserError, match=r"t\.tar: cannot be read as a tar"):
        scan_tar(path)
