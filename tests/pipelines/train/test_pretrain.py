"""Pretraining depends on its settings only, and resumes an unfinished base checkpoint."""

import argparse
import csv
import json
from pathlib import Path

import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.train.pretrain import main

SMALL = [
    "data.height=32",
    "data.width=48",
    "data.num_frames=5",
    "pretrain.domains=[driving-day, falling]",
    "pretrain.num_scenes=4",
    "pretrain.vae_clips=4",
    "pretrain.vae_steps=2",
    "pretrain.batch_size=2",
    "pretrain.checkpoint_every=1",
]


def pretrain(out: Path, steps: int, *more: str) -> Path:
    main(compose([*SMALL, f"pretrain.out={out}", f"pretrain.steps={steps}", *more]), argparse.Namespace())
    return out / "model"


def test_a_checkpoint_has_its_recipe_and_curves_and_training_resumes(tmp_path: Path) -> None:
    folder = pretrain(tmp_path / "a", 12)
    model = load_world_model(folder)
    assert model.latent_std.shape == (2, model.config.latent_channels)
    assert (model.latent_std[1] < model.latent_std[0]).any(), "a warped frame reduces the variance"
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["pretrain"]["seed"] == 1000 and recipe["framing"]["num_frames"] == 5
    for name in ("curve.csv", "vae_curve.csv"):
        rows = list(csv.DictReader((folder / name).open()))
        assert rows and all(float(value) == float(value) for row in rows for value in row.values())

    before = compute_model_digest(folder)
    shards = {path: path.read_bytes() for path in (tmp_path / "a" / "latents").rglob("*.safetensors")}
    assert compute_model_digest(pretrain(tmp_path / "a", 12)) == before, "a finished base is kept"
    assert {path: path.read_bytes() for path in (tmp_path / "a" / "latents").rglob("*.safetensors")} == shards
    with pytest.raises(UserError, match=r"a/model was made with other settings; move it away"):
        pretrain(tmp_path / "a", 13)
    assert compute_model_digest(folder) == before
    folder.rename(tmp_path / "moved away")
    assert compute_model_digest(pretrain(tmp_path / "a", 12)) == before, "training resumes from the checkpoints"
    assert not list((tmp_path / "a").glob(".*"))


def test_a_base_may_start_from_an_earlier_base_and_its_vae(tmp_path: Path) -> None:
    first = pretrain(tmp_path / "a", 2)
    second = pretrain(tmp_path / "b", 1, f"pretrain.start={first}", "pretrain.learning_rate=0")
    ours, theirs = load_world_model(second), load_world_model(first)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name
    assert ours.codec.digest() == theirs.codec.digest()
    recipe = json.loads((second / "recipe.json").read_text())
    assert recipe["started_from"] == json.loads((first / "recipe.json").read_text())


@pytest.mark.slow
def test_loader_workers_do_not_change_the_weights(tmp_path: Path) -> None:
    single = load_world_model(pretrain(tmp_path / "a", 2)).state_dict()
    workers = load_world_model(pretrain(tmp_path / "b", 2, "pretrain.num_workers=2")).state_dict()
    assert all(torch.equal(workers[name], value) for name, value in single.items())


@pytest.mark.slow
def test_a_compiled_run_gives_the_weights_of_an_eager_one(tmp_path: Path) -> None:
    eager = load_world_model(pretrain(tmp_path / "a", 2)).state_dict()
    compiled = load_world_model(pretrain(tmp_path / "b", 2, "pretrain.compile=true")).state_dict()
    assert compiled.keys() == eager.keys()
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, atol=1e-3, rtol=1e-2)


def test_a_start_that_is_not_a_base_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone holds no base: vae/config\.json is missing"):
        pretrain(tmp_path / "b", 1, f"pretrain.start={tmp_path / 'gone'}")
    assert not (tmp_path / "b").exists()
