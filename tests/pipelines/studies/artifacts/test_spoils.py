"""Every kind of failure changes its place and nothing else, more at a higher strength."""

import numpy as np
import pytest
import torch

from driveforge.pipelines.studies.artifacts.latent_spoils import LATENT_SPOILS, spoil_latents
from driveforge.pipelines.studies.artifacts.places import sample_place
from driveforge.pipelines.studies.artifacts.spoils import SPOILS, Place
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view
from tests.validation.street import street

FRAMES, HEIGHT, WIDTH = 6, 64, 96


def place(top: float) -> Place:
    """The right half of the image, from the third frame on."""
    mask = np.zeros((FRAMES, HEIGHT, WIDTH), np.float32)
    mask[:, :, WIDTH // 2 :] = 1
    return Place(
        mask=mask,
        center=np.tile(np.array([0.75 * WIDTH, HEIGHT / 2]), (FRAMES, 1)),
        size=np.full(FRAMES, 40.0),
        strength=top * np.array([0, 0, 0.5, 1, 1, 1.0]),
    )


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.asarray(street(height=HEIGHT, width=WIDTH, num_frames=FRAMES).frames[0], np.float32)


@pytest.mark.parametrize("kind", SPOILS)
def test_only_the_place_is_spoilt(frames: np.ndarray, kind: str) -> None:
    spoilt = SPOILS[kind](frames, place(1.0), np.random.default_rng(0))
    assert np.array_equal(spoilt[:2], frames[:2]) and np.array_equal(
        spoilt[..., : WIDTH // 2, :], frames[..., : WIDTH // 2, :]
    )
    assert np.abs(spoilt - frames)[3:].mean() > 0.5


@pytest.mark.parametrize("kind", SPOILS)
def test_a_failure_grows_with_its_strength(frames: np.ndarray, kind: str) -> None:
    faint, strong = (
        np.abs(SPOILS[kind](frames, place(top), np.random.default_rng(1)) - frames).mean() for top in (0.2, 1.0)
    )
    assert strong > faint


@pytest.mark.parametrize("kind", LATENT_SPOILS)
def test_only_the_latents_of_the_place_are_spoilt(kind: str) -> None:
    latents = torch.randn(1, 4, FRAMES, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(0))
    spoilt = spoil_latents(latents, place(1.0), kind, np.random.default_rng(0))
    half = WIDTH // 16
    assert torch.equal(spoilt[:, :, :2], latents[:, :, :2]) and torch.equal(spoilt[..., :half], latents[..., :half])
    assert (spoilt - latents).abs()[:, :, 3:, :, half:].mean() > 0.1


def test_places_are_inside_the_image_and_grow_stronger() -> None:
    view = reference_view(street())
    boxes = project_boxes(view)
    for seed in range(30):
        found = sample_place(view, boxes, np.random.default_rng(seed))
        assert found.mask.shape == view.gray.shape and found.mask.max() == pytest.approx(1.0)
        assert (np.diff(found.strength) >= 0).all() and 0 < found.strength[-1] <= 1
