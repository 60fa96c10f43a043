import os
from pathlib import Path, PurePath

import pytest

from driveforge.datasets.scene import CLIP_ID
from driveforge.datasets.video_files import (
    find_descriptions,
    find_unsupported,
    find_videos,
    list_videos,
    make_clip_id,
    make_clip_ids,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_videos_are_found_among_other_files(tmp_path: Path) -> None:
    footage = ["GX010042.MP4", "a.mp4", "b/c.MoV", "b/d.m4v"]
    others = [
        "._a.mp4", ".DS_Store", "Thumbs.db", "a.srt", "a.json", "a.mp4.json", "scene.json", ".Trashes/a.mp4",
        "__MACOSX/._a.mp4", ".Trashes/a/scene.json", "b/._c.mov", "a.THM", "mp4", ".mp4",
    ]  # fmt: skip
    touch(tmp_path, *footage, *others, "clip.avi", "b/GL010042.LRV", "._clip.avi")
    assert [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)] == footage
    assert [path.name for path in list_videos(tmp_path / "b")] == ["c.MoV", "d.m4v"]
    assert [path.name for path in find_descriptions(tmp_path)] == ["scene.json"]
    assert [path.name for path in find_unsupported(tmp_path)] == ["GL010042.LRV", "clip.avi"]


@pytest.mark.parametrize(
    "names",
    [
        ["街.mp4", "路口.mp4"],
        ["café.mp4", "cafe.mp4"],
        ["a b.mp4", "a-b.mp4", "a/b.mp4"],
        ["v.mp4", "V.mp4", "v.mov", "v.MP4"],
        ["Ω.mp4", "ω.mp4"],
        ["🚗.mp4", "🚙.mp4"],
        ["x" * 240 + "1.mp4", "x" * 240 + "2.mp4"],
        [os.fsdecode(b"caf\xe9.mp4"), os.fsdecode(b"caf\xe8.mp4")],
    ],
)
def test_different_names_give_different_ids(names: list[str]) -> None:
    paths = [PurePath(name) for name in names]
    ids = make_clip_ids(paths)
    assert len(set(ids.values())) == len(names)
    assert all(CLIP_ID.fullmatch(name) and len(name) < 120 for name in ids.values())
    assert ids == make_clip_ids(reversed(paths))


def test_plain_names_are_their_ids() -> None:
    assert make_clip_id("walks/In the park") == "walks-in-the-park"
    assert make_clip_ids([PurePath("GX010042.MP4")])[PurePath("GX010042.MP4")] == "gx010042"


def test_ids_do_not_depend_on_the_unicode_normal_form() -> None:
    assert make_clip_id("caf\u00e9") == make_clip_id("cafe\u0301")
