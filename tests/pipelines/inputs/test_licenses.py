import json
from pathlib import Path

import pytest

from driveforge.datasets.errors import MAX_LENGTH, UserError
from driveforge.datasets.folder_source import VideoFolderSource, write_clip_folder
from driveforge.pipelines.inputs.licenses import license_reader
from tests.datasets.small_clips import small_clip


def license_at(root: Path) -> str:
    source = VideoFolderSource(root, None)
    return license_reader(root, source)(source.scenes()[0])


@pytest.mark.parametrize(
    ("meta", "license"),
    [
        ({"license": "MIT"}, "MIT"),
        ({"licence": "MIT"}, "MIT"),
        ({"source": {"license": "CC0\n1.0"}}, "CC0 1.0"),
        ({"license": ["MIT"], "source": {"license": None}}, ""),
        ([1], ""),
        ("text", ""),
    ],
)
def test_the_license_is_read_from_a_file_next_to_the_clip(meta: object, license: str, tmp_path: Path) -> None:
    folder = write_clip_folder(tmp_path, small_clip())
    (folder / "meta.json").write_text(json.dumps(meta))
    assert license_at(tmp_path) == (license or license_at(write_clip_folder(tmp_path / "none", small_clip()).parent))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}'])
def test_a_file_that_is_not_json_is_an_error(content: bytes, tmp_path: Path) -> None:
    folder = write_clip_folder(tmp_path, small_clip())
    (folder / "meta.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        license_at(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'meta.json'}: is not valid JSON: ") and message.endswith("give --license")
    assert len(message) <= MAX_LENGTH and "\n" not in message
