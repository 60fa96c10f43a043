"""The doors for networks on disk, with tiny ones that are made here: what they are given, and what they refuse."""

import json
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Camera, Clip, Scene
from tests.validation.networks import Shapeless
from driveforge.pipelines.studies.validator.baselines.pixels import warping_error
from driveforge.validation.set_metrics.clip_model import (
    ClipModel,
    clip_extractor,
    clip_temporal_distance,
    clip_text_distance,
    load_clip,
)
from driveforge.validation.set_metrics.features import embed_clips, files_hash
from driveforge.validation.set_metrics.frechet import frechet_distance
from driveforge.validation.set_metrics.networks import flow_network, image_extractor, video_extractor

ROOT = Path(__file__).parents[3]


class MeanOfVideo(torch.nn.Module):
    """Mean colours of a video ``(1, 3, T, H, W)``, doubled on demand."""

    def forward(self, video: torch.Tensor, twice: bool = False) -> torch.Tensor:
        colours = video.mean(dim=[2, 3, 4])
        return 2 * colours if twice else colours


class MeanOfImages(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=[2, 3])


class SlidesRight(torch.nn.Module):
    """Says 2 px to the right of all that it is shown, after an iteration that says nothing."""

    def forward(self, before: torch.Tensor, after: torch.Tensor) -> list[torch.Tensor]:
        nothing = torch.zeros_like(before[:, :2])
        moves = nothing.clone()
        moves[:, 0] = 2.0
        return [nothing, moves]


def coloured(levels: list[float], name: str = "clip", caption: str = "", size: int = 20) -> Clip:
    """A clip of flat frames: red as given, green 10, blue 0."""
    frames = np.zeros((1, len(levels), size, size + 6, 3), np.uint8)
    frames[..., 0], frames[..., 1] = np.array(levels)[None, :, None, None], 10
    scene = Scene(
        clip_id=name,
        domain="test",
        caption=caption,
        timestamps=np.arange(len(levels)) / 10,
        cameras=(Camera(name="front", width=size + 6, height=size),),
    )
    return Clip(scene=scene, frames=frames)


def test_a_network_of_videos_gets_the_clip_and_its_switches(saved: Callable[[torch.nn.Module], Path]) -> None:
    path = saved(MeanOfVideo())
    clip = coloured([100, 200])
    np.testing.assert_allclose(video_extractor(path).embed(clip), [[150, 10, 0]])
    np.testing.assert_allclose(video_extractor(path, ("twice",)).embed(clip), [[300, 20, 0]])
    assert video_extractor(path).name == "video:MeanOfVideo"
    assert video_extractor(path, ("twice",)).name == "video:MeanOfVideo(twice)"
    with pytest.raises(UserError, match=r"MeanOfVideo\.pt: fails on an input of shape \(1, 3, 2, 20, 26\)"):
        video_extractor(path, ("thrice",)).embed(clip)


def test_a_network_of_images_gives_a_row_a_frame_and_a_distance_of_sets(
    saved: Callable[[torch.nn.Module], Path],
) -> None:
    extractor = image_extractor(saved(MeanOfImages()))
    np.testing.assert_allclose(extractor.embed(coloured([100, 200])), [[100, 10, 0], [200, 10, 0]])
    dark, bright = (
        embed_clips([coloured([level + i, level - i], f"c{i}") for i in range(8)], extractor) for level in (50, 90)
    )
    result = frechet_distance(dark, bright, measure="FID", seed=3)
    assert result.value == pytest.approx(40**2)
    assert result.p_value == pytest.approx(0.01)
    assert result.protocol.extractor_hash == extractor.hash != ""


def test_the_hash_is_of_the_weights(saved: Callable[[torch.nn.Module], Path], tmp_path: Path) -> None:
    one, other = saved(MeanOfVideo()), saved(MeanOfImages())
    assert files_hash(one) == files_hash(one) != files_hash(other)
    copy = tmp_path / "other name.pt"
    copy.write_bytes(one.read_bytes())
    assert files_hash(copy) != files_hash(one)


def test_a_flow_network_takes_any_size_and_its_last_iteration_counts(
    saved: Callable[[torch.nn.Module], Path],
) -> None:
    flow = flow_network(saved(SlidesRight()))
    frame = np.random.default_rng(0).integers(0, 255, (20, 26, 3), np.uint8)
    found = flow(frame, frame)
    assert found.shape == (20, 26, 2) and found.dtype == np.float32
    assert (found == [2.0, 0.0]).all()
    forward_both_ways = warping_error(coloured([1, 2, 3]), flow=flow)
    assert forward_both_ways.why == "degenerate geometry", "a flow that does not return is believed nowhere"


def test_what_is_missing_or_no_network_or_gives_no_features_is_refused(
    saved: Callable[[torch.nn.Module], Path], tmp_path: Path
) -> None:
    for door in (video_extractor, image_extractor, flow_network):
        with pytest.raises(UserError, match=r"absent\.pt: no TorchScript file there; give a local path"):
            door(tmp_path / "absent.pt")
        (tmp_path / "text.pt").write_text("not a network")
        with pytest.raises(UserError, match=r"text\.pt: not a TorchScript file"):
            door(tmp_path / "text.pt")
    with pytest.raises(UserError, match=r"Shapeless\.pt: must return features of shape \(2, D\), got \(\)"):
        image_extractor(saved(Shapeless())).embed(coloured([1, 2]))
    frame = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(UserError, match=r"MeanOfVideo\.pt: fails on an input of shape"):
        flow_network(saved(MeanOfVideo()))(frame, frame)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of random weights that knows single letters."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("tiny-clip")
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = ["<|startoftext|>", "<|endoftext|>", *string.ascii_lowercase, *(f"{c}</w>" for c in string.ascii_lowercase)]
    text = layers | {
        "vocab_size": len(words),
        "max_position_embeddings": 12,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    vision = layers | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


@pytest.fixture(scope="module")
def model(clip_folder: Path) -> ClipModel:
    return load_clip(clip_folder)


def test_clip_embeds_frames_and_captions_to_unit_length(model: ClipModel) -> None:
    frames = coloured([10, 200, 10]).frames[0]
    embedded, words = model.embed_images(frames), model.embed_text("a car, in the rain, and a caption that is too long")
    assert embedded.shape == (3, 8) and words.shape == (8,)
    np.testing.assert_allclose(np.linalg.norm([*embedded, words], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embedded[0], embedded[2], atol=1e-6)
    assert not np.allclose(embedded[0], embedded[1], atol=1e-3)
    assert not np.allclose(words, model.embed_text("b"), atol=1e-3)


def test_clip_measures_are_one_minus_the_published_cosines(model: ClipModel) -> None:
    clip = coloured([10, 200, 90], caption="a car")
    embedded, words = model.embed_images(clip.frames[0]), model.embed_text("a car")
    assert clip_text_distance(clip, model).value == pytest.approx(1 - (embedded @ words).mean())
    pairs = [embedded[0] @ embedded[1], embedded[1] @ embedded[2]]
    assert clip_temporal_distance(clip, model).value == pytest.approx(1 - np.mean(pairs))
    assert clip_temporal_distance(coloured([50, 50, 50]), model).value == pytest.approx(0, abs=1e-6)
    assert clip_text_distance(coloured([10, 20]), model).why == "no caption"
    assert clip_temporal_distance(coloured([10]), model).why == "too few frames"


def test_clip_is_an_extractor_of_rows_a_frame(model: ClipModel, clip_folder: Path) -> None:
    features = embed_clips([coloured([10, 200])], clip_extractor(model))
    assert features.values.shape == (1, 2, 8)
    assert features.extractor == f"clip:{clip_folder.name}"


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "vocab.json"])
def test_an_incomplete_clip_folder_is_refused_by_what_is_missing(
    missing: str, clip_folder: Path, tmp_path: Path
) -> None:
    for file in clip_folder.iterdir():
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=missing.replace(".", r"\.")):
        load_clip(tmp_path)
    with pytest.raises(UserError, match="no CLIP folder there; give a local path"):
        load_clip(tmp_path / "openai" / "clip-vit-base-patch32")


def test_neither_torch_nor_transformers_is_imported_before_a_door_is_opened() -> None:
    modules = ("clip_model", "features", "frechet", "looks", "mean", "motion", "networks", "protocol")
    code = f"import sys; from validation.sets import {', '.join(modules)}; import validation.peers.catalogue; "
    code += "print(sorted({'torch', 'transformers', 'scipy'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
