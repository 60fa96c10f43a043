"""Bad inputs on disk, each in a separate folder, sampled with a seed."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import av
import numpy as np

from driveforge.datasets.folder_source import SCENE_FILE, write_clip_folder
from driveforge.datasets.scene import Clip
from driveforge.datasets.video import encode_mp4
from tests.validation.mutations.descriptions import DESCRIPTIONS, Text
from tests.validation.mutations.pixels import Rng

# Takes the folder of a good clip, and its video.
Mutation = Callable[[Path, Path, Rng], None]


def _of_bytes(change: Callable[[bytes, Rng], bytes]) -> Mutation:
    return lambda folder, video, rng: _write(video, change(video.read_bytes(), rng))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _cut(content: bytes, rng: Rng) -> bytes:
    return content[: int(rng.integers(1, len(content)))]


def _flipped(content: bytes, rng: Rng) -> bytes:
    """Some bytes are randomized, in the headers as often as in the frames."""
    corrupted = bytearray(content)
    low, high = ((0, 60), (0, len(content)), (len(content) - 1000, len(content)))[int(rng.integers(3))]
    for at in rng.integers(low, high, int(rng.integers(1, 30))):
        corrupted[at] = int(rng.integers(0, 256))
    return bytes(corrupted)


def _encoded(
    codec: str, pixel_format: str, container: str = "mp4", shape: tuple[int, ...] = (9, 64, 96, 3)
) -> Mutation:
    """The video is replaced by noise in another format under the same name."""

    def mutate(folder: Path, video: Path, rng: Rng) -> None:
        with av.open(str(video), "w", format=container) as out:
            stream = out.add_stream(codec, rate=10)
            stream.height, stream.width, stream.pix_fmt = shape[1], shape[2], pixel_format
            for image in rng.integers(0, 256, shape, np.uint8):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(stream.encode())

    return mutate


def _sound(folder: Path, video: Path, rng: Rng) -> None:
    with av.open(str(video), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())


def _noise(num_frames: int, height: int, width: int) -> Mutation:
    return lambda folder, video, rng: _write(
        video, encode_mp4(rng.integers(0, 256, (num_frames, height, width, 3), np.uint8), 10.0)
    )


def _instead_of(link: Callable[[Path], None]) -> Mutation:
    """The video is replaced by something that is not a file."""

    def mutate(folder: Path, video: Path, rng: Rng) -> None:
        video.unlink()
        link(video)

    return mutate


def _bare(mutate: Mutation) -> Mutation:
    """Also removes the description."""

    def both(folder: Path, video: Path, rng: Rng) -> None:
        mutate(folder, video, rng)
        (folder / SCENE_FILE).unlink()

    return both


def _renamed(name: str) -> Mutation:
    return lambda folder, video, rng: (video.rename(folder / name), None)[1]


def _linked(folder: Path, video: Path, rng: Rng) -> None:
    shutil.copy(video, folder / "elsewhere.bin")
    video.unlink()
    video.symlink_to("elsewhere.bin")


def _bad_neighbors(folder: Path, video: Path, rng: Rng) -> None:
    """Bad videos with the same name and others, in folders inside the clip's folder."""
    for name in (f"a/{video.name}", "a/other.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no video")


def _described_by(mutate: Text) -> Mutation:
    def both(folder: Path, video: Path, rng: Rng) -> None:
        path = folder / SCENE_FILE
        corrupted = mutate(path.read_text(), rng)
        path.write_bytes(corrupted if isinstance(corrupted, bytes) else corrupted.encode())

    return both


def _no_description_but_a_folder(folder: Path, video: Path, rng: Rng) -> None:
    (folder / SCENE_FILE).unlink()
    (folder / SCENE_FILE).mkdir()


def _only_the_description(folder: Path, video: Path, rng: Rng) -> None:
    video.unlink()


def _nothing(folder: Path, video: Path, rng: Rng) -> None:
    pass


VIDEOS: dict[str, Mutation] = {
    "nothing wrong": _nothing,
    "video empty": _of_bytes(lambda content, rng: b""),
    "video cut short": _of_bytes(_cut),
    "video garbled": _of_bytes(_flipped),
    "video of bytes": _of_bytes(lambda content, rng: rng.bytes(2000)),
    "video of zeros": _of_bytes(lambda content, rng: bytes(2000)),
    "video of text": _of_bytes(lambda content, rng: b"<html>404 not found</html>"),
    "video twice in a row": _of_bytes(lambda content, rng: content + content),
    "bare video cut short": _bare(_of_bytes(_cut)),
    "bare video garbled": _bare(_of_bytes(_flipped)),
    "bare video of bytes": _bare(_of_bytes(lambda content, rng: rng.bytes(2000))),
    "video missing": _only_the_description,
    "video is a folder": _instead_of(Path.mkdir),
    "video is a pipe": _instead_of(os.mkfifo),
    "video is a broken link": _instead_of(lambda path: path.symlink_to("nowhere.mp4")),
    "video is a link to itself": _instead_of(lambda path: path.symlink_to(path.name)),
    "video is a link": _linked,
    "bare video is a folder": _bare(_instead_of(Path.mkdir)),
    "description is a folder": _no_description_but_a_folder,
    "video of another name": _renamed("Élan vital (1) ✓.mp4"),
    "video of another suffix": _renamed("front.avi"),
    "bad neighbors": _bad_neighbors,
    "bare, with bad neighbors": _bare(_bad_neighbors),
    "one frame": _bare(_noise(1, 64, 96)),
    "two frames": _bare(_noise(2, 64, 96)),
    "one frame less than described": _noise(8, 64, 96),
    "another size than described": _noise(9, 96, 64),
    "two pixels": _bare(_noise(9, 2, 2)),
    "a strip": _bare(_noise(9, 2, 300)),
    "noise": _noise(9, 64, 96),
    "gray only": _encoded("libx264", "gray"),
    "full color": _encoded("libx264rgb", "rgb24"),
    "ten bits": _encoded("libx264", "yuv420p10le"),
    "odd sizes": _bare(_encoded("libx264", "yuv444p", shape=(9, 33, 47, 3))),
    "one pixel": _bare(_encoded("ffv1", "bgr0", "matroska", shape=(9, 1, 1, 3))),
    "an old codec": _encoded("mpeg4", "yuv420p"),
    "an image codec": _encoded("mjpeg", "yuvj420p", "avi"),
    "another container": _encoded("ffv1", "yuv420p", "matroska"),
    "sound": _sound,
}

EVERY: dict[str, tuple[Mutation, str]] = {name: (mutate, "") for name, mutate in VIDEOS.items()} | {
    name: (_described_by(text), key) for name, (text, key) in DESCRIPTIONS.items()
}
# Sampled repeatedly, each time with other random numbers.
RANDOM = ("video cut short", "video garbled", "bare video garbled", "description cut short", "junk anywhere")
# These are harmless.
HARMLESS = ("nothing wrong", "video is a link", "video of another name", "bad neighbors", "bare, with bad neighbors")


@dataclass(frozen=True, kw_only=True)
class Input:
    """``folder`` contains the input; if it is refused, the message must name the folder and the ``key``."""

    name: str
    folder: Path
    key: str

    @property
    def is_harmless(self) -> bool:
        return self.name in HARMLESS


def write_inputs(root: Path, good: Clip, seed: int, num_inputs: int) -> list[Input]:
    """Every input once, then sampled ones; input ``n`` is a function of ``(seed, n)`` only."""
    whole = write_clip_folder(root / "whole", good)
    names = [*EVERY, *(RANDOM[number % len(RANDOM)] for number in range(max(0, num_inputs - len(EVERY))))]
    inputs = []
    for number, name in zip(count(), names[:num_inputs], strict=False):
        mutate, key = EVERY[name]
        folder = root / f"{number:03d} {name}"
        shutil.copytree(whole, folder / "clip")
        mutate(folder / "clip", next((folder / "clip").glob("*.mp4")), np.random.default_rng((seed, number)))
        inputs.append(Input(name=name, folder=folder, key=key))
    shutil.rmtree(root / "whole")
    return inputs
