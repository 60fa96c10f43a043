"""Sets of clips: distances with known values, and protocols that must agree."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.validation.set_metrics import appearance, motion
from driveforge.validation.set_metrics.appearance import appearance_extractor
from driveforge.validation.set_metrics.features import Extractor, FeatureSet, code_hash, embed_clips
from driveforge.validation.set_metrics.frechet import frechet, frechet_distance, num_clips_needed
from driveforge.validation.set_metrics.motion import motion_extractor
from driveforge.validation.set_metrics.protocol import SetProtocol, SetResult, change
from tests.validation.pixel_clips import clip_from_frames

PROTOCOL = SetProtocol(
    measure="frechet-appearance",
    extractor="appearance",
    extractor_hash="abc",
    reference="123",
    num_clips=64,
    num_frames=17,
    frame_rate=10.0,
    height=96,
    width=160,
    seed=0,
)
BRIGHTNESS = Extractor(name="brightness", hash="1", embed=lambda clip: clip.frames[0].mean((1, 2)))


def gray(level: float, name: str, frames: int = 2, rate: float = 10.0) -> Clip:
    return clip_from_frames(np.full((frames, 4, 4, 3), level), name, rate)


def drawn(values: np.ndarray, **changes: object) -> FeatureSet:
    """A set of clips with given features ``(N, D)`` or ``(N, S, D)``."""
    features = FeatureSet(
        extractor="drawn",
        extractor_hash="1",
        clip_ids=tuple(f"clip-{i}" for i in range(len(values))),
        values=values if values.ndim == 3 else values[:, None],
        num_frames=17,
        frame_rate=10.0,
        height=96,
        width=160,
    )
    return replace(features, **changes)  # type: ignore[arg-type]


def with_moments(rng: np.random.Generator, count: int, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Samples ``(count, D)`` with exactly this mean and covariance."""
    raw = rng.normal(size=(count, len(mean)))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_the_distance_of_normal_distributions_matches_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    means, spreads = np.array([[1.0, 2, -3], [0.0, 4, -1]]), np.array([[2.0, 0.5, 1], [1.0, 3, 1]])
    a, b = (with_moments(rng, 40, m, np.diag(s**2)) for m, s in zip(means, spreads, strict=True))
    assert frechet(a, b) == pytest.approx(((means[0] - means[1]) ** 2).sum() + ((spreads[0] - spreads[1]) ** 2).sum())


def test_correlated_covariances_need_the_root_of_their_product() -> None:
    rng = np.random.default_rng(1)
    mixings = rng.normal(size=(2, 4, 4))
    c1, c2 = (m @ m.T + 0.1 * np.eye(4) for m in mixings)
    a, b = (with_moments(rng, 50, np.zeros(4), c) for c in (c1, c2))
    roots = np.sqrt(np.linalg.eigvals(c1 @ c2).real)
    expected = np.trace(c1) + np.trace(c2) - 2 * roots.sum()
    assert frechet(a, b) == pytest.approx(expected)
    assert frechet(a, b) == pytest.approx(frechet(b, a))
    assert expected != pytest.approx(((np.sqrt(np.diag(c1)) - np.sqrt(np.diag(c2))) ** 2).sum(), rel=0.05)


def test_identical_sets_have_distance_0_even_with_fewer_clips_than_dimensions() -> None:
    values = np.random.default_rng(0).normal(size=(10, 50))
    assert frechet(values, values[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet(values, values + 2.0) == pytest.approx(4.0 * 50)


def test_equal_distributions_are_distinguished_from_different_ones() -> None:
    rng = np.random.default_rng(0)
    a, b, shifted = (drawn(rng.normal(size=(30, 20)) + shift) for shift in (0, 0, 0.7))
    same, other = (frechet_distance(a, x, measure="test", seed=1) for x in (b, shifted))
    assert same.null_median is not None and same.p_value is not None and other.p_value is not None
    assert same.value == pytest.approx(same.null_median, rel=0.3)
    assert same.p_value > 0.05 > 0.011 > other.p_value
    assert other.value > 2 * same.value
    assert same == frechet_distance(a, b, measure="test", seed=1)


def test_frames_of_a_clip_are_permuted_together() -> None:
    """Frames of one clip are similar: if permuted separately, any two sets would look different."""
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(40, 1, 5)) + 0.01 * rng.normal(size=(40, 6, 5))
    halves = [drawn(clips[i : i + 20]) for i in (0, 20)]
    result = frechet_distance(*halves, measure="test")
    assert result.p_value is not None and result.p_value > 0.05


def test_too_few_clips_are_refused_and_few_give_a_warning() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="7 clips per set are too few for a distribution; use 8"):
        frechet_distance(drawn(rng.normal(size=(7, 3))), drawn(rng.normal(size=(7, 3))), measure="test")
    few = frechet_distance(drawn(rng.normal(size=(12, 30))), drawn(rng.normal(size=(12, 30))), measure="test")
    assert few.warning.startswith("12 clips are too few for 30 dimensions (31 are enough)")
    many = frechet_distance(drawn(rng.normal(size=(31, 30))), drawn(rng.normal(size=(31, 30))), measure="test")
    assert many.warning == ""
    assert num_clips_needed(drawn(rng.normal(size=(9, 2, 30)))) == 16


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"extractor_hash": "2"}, "extractor_hash 1 and 2"),
        ({"num_frames": 9}, "num_frames 17 and 9"),
        ({"frame_rate": 5.0}, r"frame_rate 10\.0 and 5\.0"),
        ({"height": 256, "width": 448}, "height 96 and 256; width 160 and 448"),
    ],
)
def test_no_distance_across_protocols(changes: dict[str, object], named: str) -> None:
    values = np.random.default_rng(0).normal(size=(12, 3))
    with pytest.raises(UserError, match=named):
        frechet_distance(drawn(values), drawn(values, **changes), measure="test")
    with pytest.raises(UserError, match="num_clips 12 and 11"):
        frechet_distance(drawn(values), drawn(values[1:]), measure="test")


def test_results_are_compared_under_one_protocol_only() -> None:
    before = SetResult(value=3.0, protocol=PROTOCOL)
    assert change(before, SetResult(value=2.5, protocol=replace(PROTOCOL))) == -0.5
    for changes in ({"seed": 1}, {"reference": "other"}, {"num_clips": 65}, {"extractor_hash": "new"}):
        with pytest.raises(UserError, match=f"different protocols.*{next(iter(changes))}"):
            change(before, SetResult(value=2.5, protocol=replace(PROTOCOL, **changes)))  # type: ignore[arg-type]


def test_a_protocol_prints_as_one_complete_line() -> None:
    assert str(PROTOCOL) == (
        "frechet-appearance against 123 by appearance abc, 64 clips of 17 frames at 10 Hz, 160 x 96 px, seed 0"
    )


def test_a_result_survives_json_and_is_never_nan() -> None:
    result = SetResult(value=3.0, protocol=PROTOCOL, null_median=2.0, p_value=0.01, warning="few")
    assert SetResult.from_json(result.to_json()) == result
    with pytest.raises(UserError, match="not a result"):
        SetResult.from_json({"value": 3.0})
    with pytest.raises(UserError, match="nan"):
        SetResult(value=float("nan"), protocol=PROTOCOL)


def test_a_clip_without_finite_features_is_named_and_not_left_out() -> None:
    broken = Extractor(name="broken", hash="1", embed=lambda clip: np.full((1, 2), np.nan))
    with pytest.raises(UserError, match=r"clip-a.*NaN"):
        embed_clips([gray(1, "clip-a")], broken)


@pytest.mark.parametrize(
    ("clips", "words"),
    [
        ([], "no clips"),
        ([gray(1, "a"), gray(1, "b", frames=3)], "b has 3 frames .* a has 2"),
        ([gray(1, "a"), gray(1, "b"), gray(1, "c", rate=5.0)], "c has 5.00 frames per second"),
        ([gray(1, "a"), gray(2, "a")], "a is in the set twice"),
    ],
)
def test_sets_of_different_formats_are_refused(clips: Iterable[Clip], words: str) -> None:
    with pytest.raises(UserError, match=words):
        embed_clips(clips, BRIGHTNESS)


def test_a_set_stores_its_format_independent_of_the_order() -> None:
    a = embed_clips([gray(1, "a", rate=9.9), gray(5, "b", rate=10.1)], BRIGHTNESS)
    b = embed_clips([gray(5, "b", rate=10.1), gray(1, "a", rate=9.9)], BRIGHTNESS)
    assert a.values.shape == (2, 2, 3) and (a.values[1] == 5).all()
    assert a.protocol("x", reference=a.digest()) == b.protocol("x", reference=b.digest())
    assert str(a.protocol("x")) == "x by brightness 1, 2 clips of 2 frames at 10 Hz, 4 x 4 px, seed 0"


def test_the_hash_depends_on_the_code() -> None:
    assert code_hash(appearance) == code_hash(appearance) != code_hash(motion)
    assert appearance_extractor().hash != motion_extractor().hash
