"""The command ``replay`` on tiny videos; a fake encoder makes latents of the mean gray level of each clip."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich import get_console

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentSample
from driveforge.datasets.scene import Scene
from driveforge.datasets.source import Source
from driveforge.datasets.video import encode_mp4
from driveforge.pipelines import cli
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.inputs.licenses import select_licensed
from driveforge.pipelines.inputs.sources import open_replay
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.replay import add
from driveforge.pipelines.replay.add import SizeLimit, parse_size
from driveforge.pipelines.train.finetune import fill_buffer, uses_replay
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.persistent import open_persistent

FRAMING = ["data.height=32", "data.width=48", "data.num_frames=5", "data.stride=5"]
BYTES_PER_CLIP = 2 * 3 * 4


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the clips that were encoded."""
    seen: list[str] = []

    def encode(opened: Callable[[], Source], checkpoint: Path, scenes: Sequence[Scene]) -> Iterator[LatentSample]:
        source = opened()
        for scene in scenes:
            seen.append(scene.clip_id)
            shade = float(source.load(scene).frames.mean())
            tensors = {"latents": torch.full((2, 3), shade)}
            yield LatentSample(clip_id=scene.clip_id, domain=scene.domain, caption=scene.caption, tensors=tensors)

    monkeypatch.setattr(add, "encode_scenes", encode)
    return seen


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """Six clips in three folders: two under MIT, two without a license, two under another license."""
    root = tmp_path / "footage"
    for shade, (name, meta) in enumerate(
        (("walks", {"license": "MIT"}), ("rides", None), ("falls", {"source": {"license": "CC BY-NC 4.0"}}))
    ):
        (root / name).mkdir(parents=True)
        (root / name / "video.mp4").write_bytes(encode_mp4(np.full((10, 32, 48, 3), 60 * shade, np.uint8), 10.0))
        if meta:
            (root / name / "meta.json").write_text(json.dumps(meta))
    return root


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Exit status and output of ``driveforge replay ...``."""

    def call(*words: object) -> tuple[int, str]:
        get_console().width = 200
        status = cli.main(["replay", *map(str, words), f"replay.buffer={tmp_path / 'buffer'}", *FRAMING])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


def _buffer(config: Config, checkpoint: Path) -> ReplayBuffer:
    return fill_buffer(config, checkpoint)


def test_add_fills_a_buffer_that_stats_and_verify_read(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    status, output = command("add", footage, "--domain", "handheld")
    assert (status, sorted(encoded)) == (0, [f"{n}-video-000{k}" for n in ("falls", "rides", "walks") for k in (0, 1)])
    assert "6 clips" in output and "6 kept" in output
    status, output = command("stats", "--out", tmp_path / "stats.png")
    assert status == 0
    assert all(word in output for word in ("handheld", "MIT (2)", "not stated (2)", "CC BY-NC 4.0 (2)", "512", "144 B"))
    assert cv2.imread(str(tmp_path / "stats.png")).shape[1] > 500
    status, output = command("verify")
    assert status == 0 and "6 clips" in output and "no problems" in output
    buffer = open_persistent(tmp_path / "buffer")
    origin = buffer.sample("handheld", 0).origin
    assert origin["place"] == str(footage) and origin["source"].endswith("video.mp4")


def test_only_new_clips_that_would_stay_are_encoded(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    assert command("add", footage, "--quota", 3)[0] == 0
    assert len(encoded) == 3
    assert "0 new ones encoded" in command("add", footage, "--quota", 3)[1]
    assert len(encoded) == 3
    assert open_persistent(tmp_path / "buffer").sizes == {"video": 3}


def test_a_size_may_be_given_in_bytes(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    size = f"{4 * BYTES_PER_CLIP + 1}B"
    assert command("add", footage, "--capacity", size)[0] == 0
    assert len(open_persistent(tmp_path / "buffer")) == 4
    assert command("add", footage, "--quota", f"{2 * BYTES_PER_CLIP}B")[0] == 0
    assert len(open_persistent(tmp_path / "buffer")) == 2


def test_clips_with_the_same_name_from_two_sources_are_distinguished(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    other = tmp_path / "other" / "footage"
    (other / "walks").mkdir(parents=True)
    (other / "walks" / "video.mp4").write_bytes(encode_mp4(np.full((10, 32, 48, 3), 200, np.uint8), 10.0))
    command("add", footage)
    status, output = command("add", other)
    assert status == 0 and "2 skipped" in output
    other.rename(tmp_path / "others")
    assert "2 kept" in command("add", tmp_path / "others")[1]


def test_clips_under_other_licenses_are_not_trained_on(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    command("add", footage)
    command("add", footage / "rides" / "video.mp4", "--domain", "rides", "--license", "Apache-2.0")
    settings = [f"replay.buffer={tmp_path / 'buffer'}", *FRAMING]
    licenses = ["replay.licenses=[MIT, Apache-2.0]"]
    buffer = _buffer(compose([*settings, *licenses]), BASE)
    assert buffer is not None and buffer.sizes == {"rides": 2, "video": 2}
    whole = _buffer(compose(settings), BASE)
    assert whole is not None and len(whole) == 8
    with pytest.raises(UserError, match="another VAE, or with clips of another size"):
        _buffer(compose([*settings, "data.height=64"]), BASE)
    assert not uses_replay("naive", compose(settings).replay)


def test_the_buffer_of_a_run_respects_licenses(footage: Path) -> None:
    config = compose([f"replay.root={footage}", "replay.licenses=[MIT]", *FRAMING])
    opened = partial(open_replay, config.replay, config.data.framing)
    scenes = opened().scenes()
    assert {scenes[n].clip_id for n in select_licensed(opened, config.replay, scenes)} == {
        "walks-video-0000",
        "walks-video-0001",
    }
    none = compose([f"replay.root={footage}", "replay.licenses=[GPL]", *FRAMING])
    with pytest.raises(UserError, match="matches no clip; the licenses found are CC BY-NC"):
        select_licensed(opened, none.replay, scenes)


def test_the_clips_with_the_highest_scores_stay(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    scores = {f"{n}-video-000{k}": k + 0.1 for n in ("falls", "rides", "walks") for k in (0, 1)}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    assert command("add", footage, "--retention", "loss", "--scores", tmp_path / "scores.json", "--quota", 3)[0] == 0
    buffer = open_persistent(tmp_path / "buffer")
    assert {buffer.sample("video", i).clip_id[-1] for i in range(3)} == {"1"}
    assert "--scores FILE is needed by" in command("add", footage)[1]
    (tmp_path / "few.json").write_text('{"a": 1}')
    status, output = command("add", footage, "--scores", tmp_path / "few.json")
    assert status == 2 and "has no score for 6 clips" in output


def test_remove_deletes_all_clips_that_match(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    command("add", footage / "walks", "--domain", "a")
    command("add", footage / "falls", "--domain", "b")
    assert "0 clips removed" in command("remove", footage / "walks", "--domain", "b")[1]
    assert "2 clips removed" in command("remove", footage / "walks")[1]
    assert open_persistent(tmp_path / "buffer").sizes == {"b": 2}
    assert "2 clips removed" in command("remove", "--license", "CC BY-NC 4.0")[1]
    assert "holds no clips" in command("stats")[1]


def test_verify_reports_damage_with_exit_status_1(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    command("add", footage)
    (segment,) = (tmp_path / "buffer").glob("*/segment-*")
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    status, output = command("verify")
    assert status == 1 and segment.name in output and "1 problems" in output


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["add"], "replay add needs a SOURCE"),
        (["remove"], "replay remove needs one or more of"),
        (["stats"], "no replay buffer yet"),
        (["add", "nowhere"], "no such file or folder"),
        (["add", "simulated", "--quota", "many"], "'many' is neither a number of clips"),
        (["add", "simulated", "--domain", "driving"], "may not be called 'driving'"),
    ],
)
def test_a_wrong_command_is_a_one_line_error(
    command: Callable[..., tuple[int, str]], words: list[str], line: str
) -> None:
    status, output = command(*words)
    assert status == 2 and line in output and output.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500", SizeLimit(clips=500)),
        ("20GB", SizeLimit(num_bytes=20 * 10**9)),
        ("1.5 MiB", SizeLimit(num_bytes=3 * 2**19)),
        ("7b", SizeLimit(num_bytes=7)),
    ],
)
def test_a_size_is_parsed(text: str, size: SizeLimit) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-3", "1.5", "GB", "3 XB", "0GB"])
def test_an_invalid_size_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="neither a number of clips"):
        parse_size(text)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_simulated_domains_are_added_with_the_real_vae(command: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    assert command("add", "simulated", "replay.num_scenes=4")[0] == 0
    buffer = open_persistent(tmp_path / "buffer")
    assert buffer.sizes == dict.fromkeys(("falling", "handheld", "orbit", "walkers"), 1)
    assert buffer.sample("orbit", 0).tensors["latents"].abs().max() > 0
    assert {entry["origin"]["license"] for entry in buffer.entries()} == {"simulated"}


def test_replaced_footage_is_detected_and_added_again(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    assert command("add", footage)[0] == 0
    config = compose([f"replay.buffer={tmp_path / 'buffer'}", *FRAMING])
    before = _buffer(config, BASE)
    assert before is not None
    video, known = footage / "walks" / "video.mp4", len(encoded)
    video.write_bytes(encode_mp4(np.full((10, 32, 48, 3), 90, np.uint8), 10.0))
    with pytest.raises(UserError, match=rf"footage of 2 clips was replaced.*walks.*replay add {footage}"):
        _buffer(config, BASE)
    status, output = command("add", footage)
    assert status == 0 and "2 clips removed" in output and "2 new ones encoded" in output
    assert encoded[known:] == ["walks-video-0000", "walks-video-0001"]
    after = _buffer(config, BASE)
    assert after is not None and after.digest() != before.digest() and after.sizes == before.sizes
    shades = {float(after.sample("video", n).tensors["latents"].mean()) for n in range(6)}
    assert any(abs(shade - 90) < 3 for shade in shades), "the buffer holds the new pixels"
    assert command("verify")[0] == 0


def test_a_buffer_remains_usable_after_its_footage_is_deleted(
    command: Callable[..., tuple[int, str]], footage: Path, encoded: list[str], tmp_path: Path
) -> None:
    command("add", footage)
    shutil.rmtree(footage)
    assert _buffer(compose([f"replay.buffer={tmp_path / 'buffer'}", *FRAMING]), BASE) is not None
