"""Labeled crops and training of the artifact network, small; the whole study in the slow test."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.studies.artifacts.examples import KINDS, Examples, make_examples
from driveforge.pipelines.studies.artifacts.settings import ArtifactStudy
from driveforge.pipelines.studies.artifacts.study import save_network, train_artifact_network
from driveforge.pipelines.studies.artifacts.training import LossPoint, logits_of, train_network
from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.validator.results import auroc
from driveforge.validation.artifact_weights import ARTIFACT_WEIGHTS
from driveforge.validation.learned.crops import CHANNELS, CONTEXT, CROP_PX
from driveforge.validation.learned.network import load_artifact_network


@pytest.fixture(scope="module")
def generator() -> WorldModelGenerator:
    return WorldModelGenerator.load(BASE)


@pytest.fixture(scope="module")
def examples(generator: WorldModelGenerator) -> Examples:
    """A spoilt and a generated clip."""
    return Examples.join([make_examples(number, 77, generator) for number in (0, 1)])


def test_crops_have_their_damage_and_its_kind(examples: Examples) -> None:
    assert set(examples.kind) <= set(range(len(KINDS))) and KINDS.index("generated") in examples.kind
    assert (examples.damage[examples.kind == 0] < 0.1).all(), "recordings and the VAE are not damage"
    assert (examples.damage > 0.5).sum() > 20 and examples.damage.max() <= 1
    assert {0.0, 1.0} == set(examples.context[:, 0].tolist())


def test_the_same_clip_has_the_same_crops(generator: WorldModelGenerator) -> None:
    first, second = (make_examples(4, 77, generator) for _ in range(2))
    assert np.array_equal(first.images, second.images) and np.array_equal(first.damage, second.damage)


def test_the_packaged_network_separates_crops_that_it_has_not_seen(examples: Examples) -> None:
    logits = logits_of(load_artifact_network(ARTIFACT_WEIGHTS), examples)
    assert auroc(logits[examples.damage < 0.1].tolist(), logits[examples.damage > 0.5].tolist()) > 0.8


def striped_examples(count: int = 200) -> Examples:
    """Noise; that of damaged crops is striped."""
    rng = np.random.default_rng(0)
    is_damaged = np.arange(count) % 2 == 1
    images = rng.integers(100, 156, (count, CHANNELS, CROP_PX, CROP_PX)).astype(np.uint8)
    images[is_damaged, :3, ::4] = 255
    context = np.zeros((count, CONTEXT), np.float32)
    return Examples(
        images=images,
        context=context,
        damage=is_damaged.astype(np.float32),
        kind=is_damaged.astype(np.int64),
        clip=np.zeros(count, np.int64),
    )


def test_training_is_reproducible_and_separates_the_crops() -> None:
    settings = replace(load_settings(ArtifactStudy), steps=50, batch_size=16)
    torch.set_num_threads(1)
    (network, curve), (again, _) = (train_network(striped_examples(), settings) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    logits = logits_of(network, striped_examples())
    assert logits[1::2].min() > logits[::2].max() and len(curve) == 1


def test_a_saved_network_is_loaded_with_the_same_logits(tmp_path: Path) -> None:
    settings = replace(load_settings(ArtifactStudy), steps=2, batch_size=8, out=tmp_path)
    network, _ = train_network(striped_examples(16), settings)
    save_network(network, [LossPoint(step=2, loss=0.5)], settings, 16)
    loaded = load_artifact_network(tmp_path)
    assert np.allclose(logits_of(loaded, striped_examples()), logits_of(network, striped_examples()), atol=0.05)
    assert (tmp_path / "curve.csv").read_text() == "step,loss\n2,0.5\n"


@pytest.mark.slow
def test_the_study_writes_weights_and_a_page(tmp_path: Path) -> None:
    settings = replace(
        load_settings(ArtifactStudy), num_clips=8, steps=20, out=tmp_path / "weights", run_dir=tmp_path / "run"
    )
    train_artifact_network(settings, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| gate with it |" in page and "| melt |" in page
    load_artifact_network(tmp_path / "weights")
