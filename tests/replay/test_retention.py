import numpy as np
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.shards import LatentSample
from driveforge.replay.retention import RETENTION_POLICIES, select_by_herding


def sample(value: float, score: str | None = None) -> LatentSample:
    latents = torch.full((3, 2, 2, 2), float(value))
    origin = {} if score is None else {"score": score}
    return LatentSample(clip_id="x", domain="d", caption="", tensors={"latents": latents}, origin=origin)


def test_herding_selects_the_row_that_brings_the_mean_closest() -> None:
    """Compared with the definition, step by step."""
    features = np.random.default_rng(0).normal(size=(40, 3))
    mean = features.mean(0)
    chosen: list[int] = []
    for k in range(1, 13):
        total = features[chosen].sum(0)
        left = [n for n in range(40) if n not in chosen]
        chosen.append(min(left, key=lambda n: np.linalg.norm(mean - (features[n] + total) / k)))
    assert select_by_herding(features, mean, 12).tolist() == chosen


def test_herding_follows_the_mean_closer_than_chance() -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(200, 4))
    mean = features.mean(0)
    by_chance = [np.linalg.norm(features[random.permutation(200)[:20]].mean(0) - mean) for _ in range(200)]
    assert np.linalg.norm(features[select_by_herding(features, mean, 20)].mean(0) - mean) < min(by_chance)


def test_herding_more_rows_than_there_are_selects_each_once() -> None:
    assert sorted(select_by_herding(np.ones((5, 2)), np.ones(2), 9)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("retention", RETENTION_POLICIES)
def test_a_selection_has_no_duplicates_and_fits_the_quota(retention: str) -> None:
    policy = RETENTION_POLICIES[retention]
    features = np.stack([policy.extract_features(sample(n % 7, str(n % 5))) for n in range(30)])
    chosen = policy.select(features, features.mean(0), 8)
    assert len(set(chosen.tolist())) == 8 and set(chosen.tolist()) <= set(range(30))


def test_the_highest_scores_stay() -> None:
    policy = RETENTION_POLICIES["loss"]
    features = np.stack([policy.extract_features(sample(0, repr(score))) for score in (0.5, -1.0, 3.0, 0.5, 2.0)])
    assert policy.select(features, features.mean(0), 3).tolist() == [0, 2, 4]


@pytest.mark.parametrize("score", [None, "nan", "high"])
def test_a_sample_without_a_score_is_named(score: str | None) -> None:
    with pytest.raises(UserError, match="clip x: has no finite score"):
        RETENTION_POLICIES["loss"].extract_features(sample(0, score))
