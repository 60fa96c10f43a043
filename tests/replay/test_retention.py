import numpy as np
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.shards import LatentSample
from driveforge.replay.retention import RETENTION_POLICIES, select_by_herding


def sample(value, score=None):
    latents = torch.full((3, 2, 2, 2), float(value))
    origin = {} if score is None else {"score": score}
    return LatentSample(clip_id="x", domain="d", caption="", tensors={"latents": latents}, origin=origin)


def test_herding_takes_each_time_the_one_that_brings_the_mean_nearest():
    """Against the definition, step by step."""
    features = np.random.default_rng(0).normal(size=(40, 3))
    mean = features.mean(0)
    chosen: list[int] = []
    for k in range(1, 13):
        total = features[chosen].sum(0)
        left = [n for n in range(40) if n not in chosen]
        chosen.append(min(left, key=lambda n: np.linalg.norm(mean - (features[n] + total) / k)))
    assert select_by_herding(features, mean, 12).tolist() == chosen


def test_herding_follows_the_mean_closer_than_chance():
    random = np.random.default_rng(1)
    features = random.normal(size=(200, 4))
    mean = features.mean(0)
    by_chance = [np.linalg.norm(features[random.permutation(200)[:20]].mean(0) - mean) for _ in range(200)]
    assert np.linalg.norm(features[select_by_herding(features, mean, 20)].mean(0) - mean) < min(by_chance)


def test_herding_more_than_there_are_takes_each_once():
    assert sorted(select_by_herding(np.ones((5, 2)), np.ones(2), 9)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("retention", RETENTION_POLICIES)
def test_a_choice_is_of_different_rows_within_the_quota(retention):
    keeping = RETENTION_POLICIES[retention]
    described = np.stack([keeping.extract_features(sample(n % 7, str(n % 5))) for n in range(30)])
    chosen = keeping.select(described, described.mean(0), 8)
    assert len(set(chosen.tolist())) == 8 and set(chosen.tolist()) <= set(range(30))


def test_the_highest_scores_stay():
    keeping = RETENTION_POLICIES["loss"]
    described = np.stack([keeping.extract_features(sample(0, repr(score))) for score in (0.5, -1.0, 3.0, 0.5, 2.0)])
    assert keeping.select(described, described.mean(0), 3).tolist() == [0, 2, 4]


@pytest.mark.parametrize("score", [None, "nan", "high"])
def test_a_sample_without_a_score_is_named(score):
    with pytest.raises(UserError, match="clip x: has no finite score"):
        RETENTION_POLICIES["loss"].extract_features(sample(0, score))
