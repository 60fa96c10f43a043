"""Baselines on clips with known values, and what they cannot detect."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from driveforge.datasets.scene import Clip
from driveforge.pipelines.studies.validator.baselines.catalog import BASELINES
from driveforge.pipelines.studies.validator.baselines.matches import (
    epipolar_distance,
    match_adjacent_frames,
    self_fitted_sampson,
    tsed,
)
from driveforge.pipelines.studies.validator.baselines.pixels import (
    interpolation_residual,
    temporal_flicker,
    warping_error,
)
from driveforge.validation.measures import static_track_residual
from driveforge.validation.records import NO_POSE, STATIONARY_EGO, TOO_FEW_FRAMES, Measure
from driveforge.validation.views.flow import dis_flow, is_visible, warp
from tests.validation.street import brightened, commanded_yaw, reordered, resized, street


@pytest.fixture(scope="module")
def driven() -> Clip:
    """A good clip with frames that are large enough for SIFT: 7 frames, 192 x 320 px."""
    return street(height=192, width=320, num_frames=7)


def value(measure: Measure) -> float:
    assert measure.value is not None, measure.reason
    return measure.value


def ours(clip: Clip) -> float:
    residual = static_track_residual(clip)
    assert residual is not None
    return residual


def with_pixels(clip: Clip, frames: np.ndarray) -> Clip:
    return Clip(scene=clip.scene, frames=np.clip(np.round(frames), 0, 255).astype(np.uint8))


def panning(clip: Clip, step: int) -> Clip:
    """A smooth random image that moves by ``step`` px per frame: its flow and intermediate frames are known."""
    rng = np.random.default_rng(0)
    height, width = clip.frames.shape[2:4]
    wide = cv2.GaussianBlur(rng.normal(size=(height, width + 40 * step, 3)), (0, 0), 4)
    picture = 127 + 40 * wide / wide.std()
    frames = [picture[:, t * step : t * step + width] for t in range(clip.scene.num_frames)]
    return with_pixels(clip, np.stack(frames)[None])


def test_a_static_clip_has_no_flicker_no_warping_error_and_no_residual(driven: Clip) -> None:
    constant = reordered(driven, [0] * 7)
    assert value(temporal_flicker(constant)) == 0.0
    assert value(warping_error(constant)) == pytest.approx(0.0, abs=1e-9)
    assert value(interpolation_residual(constant)) == pytest.approx(0.0, abs=1e-9)


def test_flicker_is_the_mean_step_in_brightness_of_full_scale(driven: Clip) -> None:
    levels = np.array([100, 110, 100, 110, 100, 110, 100])
    flat = np.broadcast_to(levels[None, :, None, None, None], driven.frames.shape)
    assert value(temporal_flicker(with_pixels(driven, flat))) == pytest.approx(10 / 255)


def test_the_flicker_baseline_includes_motion(driven: Clip) -> None:
    assert value(temporal_flicker(panning(driven, 4))) > 2 * value(temporal_flicker(panning(driven, 1))) > 0


def test_flow_explains_motion_and_not_a_change_of_brightness(driven: Clip) -> None:
    sliding = panning(driven, 4)
    corrupted = brightened(sliding, 1 + 0.1 * (np.arange(7) % 2))
    for baseline in (warping_error, interpolation_residual):
        assert value(baseline(sliding)) < 0.2 * value(temporal_flicker(sliding))
        assert value(baseline(corrupted)) > 5 * value(baseline(sliding))


def test_warping_error_is_the_mean_square_of_the_flow_residual(driven: Clip) -> None:
    levels = np.array([100, 110, 100, 110, 100, 110, 100])
    flat = with_pixels(driven, np.broadcast_to(levels[None, :, None, None, None], driven.frames.shape))
    plotted = np.zeros((192, 320, 2), np.float32)
    assert value(warping_error(flat, flow=lambda a, b: plotted)) == pytest.approx((10 / 255) ** 2)


def test_a_step_without_visible_pixels_is_left_out(driven: Clip) -> None:
    leaving = np.full((192, 320, 2), 1e4, np.float32)
    assert warping_error(driven, flow=lambda a, b: leaving).state == "unmeasurable"


def test_occluded_pixels_are_not_visible() -> None:
    forward, backward = np.zeros((20, 30, 2), np.float32), np.zeros((20, 30, 2), np.float32)
    backward[5:10, 5:10] = 3.0
    seen = is_visible(forward, backward)
    assert not seen[5:10, 5:10].any() and seen[12:, 12:].all()
    forward[:, :, 0] = 4.0
    assert not is_visible(forward, -forward)[:, -4:].any()


def test_warping_samples_along_the_flow() -> None:
    image = np.arange(20 * 30, dtype=np.float32).reshape(20, 30, 1).repeat(3, 2)
    flow = np.zeros((20, 30, 2), np.float32)
    flow[..., 0], flow[..., 1] = 2.0, 1.0
    np.testing.assert_allclose(warp(image, flow)[:-1, :-2], image[1:, 2:])


def test_dense_flow_finds_a_known_shift(driven: Clip) -> None:
    frames = panning(driven, 3).frames[0]
    np.testing.assert_allclose(np.median(dis_flow(frames[0], frames[1])[20:-20, 20:-20], (0, 1)), [-3, 0], atol=0.2)


def test_every_second_frame_is_predicted_from_its_neighbors(driven: Clip) -> None:
    """Swapping two frames hardly changes the flicker, but breaks the prediction."""
    sliding = panning(driven, 3)
    swapped = reordered(sliding, [0, 2, 1, 3, 4, 5, 6])
    assert value(interpolation_residual(swapped)) > 3 * value(interpolation_residual(sliding))


def test_self_fitted_geometry_misses_a_wrong_command_that_tsed_and_our_measures_detect(driven: Clip) -> None:
    wrong = commanded_yaw(driven, 30.0)
    assert value(self_fitted_sampson(driven)) == value(self_fitted_sampson(wrong)) < 1.0
    assert value(tsed(driven)) == 0.0
    assert value(tsed(wrong)) == 1.0
    assert ours(wrong) > 5 * ours(driven)


def test_tsed_misses_a_slow_drift_that_our_measure_detects(driven: Clip) -> None:
    """Two pixels between neighbors are many degrees per second: a measure over longer gaps is more sensitive."""
    drifting = commanded_yaw(driven, 3.0)
    assert value(tsed(drifting)) == 0.0
    assert ours(drifting) > 2 * ours(driven)


def test_self_fitted_geometry_detects_images_that_no_motion_explains(driven: Clip) -> None:
    rows = np.arange(192, dtype=np.float32)[:, None] * np.ones(320, np.float32)
    columns = np.ones((192, 1), np.float32) * np.arange(320, dtype=np.float32)
    frames = [
        cv2.remap(f, columns + 3 * np.sin(rows / 6 + 2 * t), rows + 3 * np.sin(columns / 7 + t), cv2.INTER_LINEAR)
        for t, f in enumerate(driven.frames[0])
    ]
    wobbling = with_pixels(driven, np.stack(frames)[None])
    assert value(self_fitted_sampson(wobbling)) > 3 * value(self_fitted_sampson(driven))


def test_epipolar_distance_of_a_sideways_motion_is_the_difference_in_rows() -> None:
    sideways = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    a = np.array([[10.0, 20, 1], [50, 60, 1]])
    b = np.array([[15.0, 20, 1], [70, 63, 1]])
    np.testing.assert_allclose(epipolar_distance(sideways, a, b), [0, 3])


def test_matches_are_of_the_same_points(driven: Clip) -> None:
    gray = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in panning(driven, 5).frames[0, :2]])
    (pair,) = match_adjacent_frames(gray)
    assert len(pair.a) > 20
    np.testing.assert_allclose(np.median(pair.b - pair.a, 0), [-5, 0, 0], atol=0.2)


def test_each_baseline_has_a_reason_without_a_value(driven: Clip) -> None:
    assert tsed(driven.with_scene(ego_to_world=None)).reason == NO_POSE
    assert tsed(driven.with_scene(ego_to_world=np.tile(np.eye(4), (7, 1, 1)))).reason == STATIONARY_EGO
    gray = with_pixels(driven, np.full(driven.frames.shape, 90.0))
    assert self_fitted_sampson(gray).reason == "too few matches"
    assert value(tsed(gray)) == 1.0


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(("frames", "height", "width"), [(1, 96, 160), (2, 96, 160), (3, 1, 1), (4, 20, 90)])
def test_odd_shapes_are_measured_or_refused_and_never_nan(
    name: str, frames: int, height: int, width: int, clip: Clip
) -> None:
    scene = clip.scene
    small = replace(
        scene,
        timestamps=scene.timestamps[:frames],
        ego_to_world=scene.ego_to_world[:frames],
        cameras=(resized(scene.cameras[0], height, width),),
        tracks=(),
    )
    pixels = np.random.default_rng(0).integers(0, 255, (1, frames, height, width, 3), np.uint8)
    taken = BASELINES[name](Clip(scene=small, frames=pixels))
    assert taken.name == name
    assert (taken.value is None) == bool(taken.reason)
    if frames == 1:
        assert taken.reason in (TOO_FEW_FRAMES, "too few matches", STATIONARY_EGO)


def test_held_frames_are_left_out(driven: Clip) -> None:
    frames = driven.frames.copy()
    frames[:, 4:] = 0
    held = Clip(scene=replace(driven.scene, held_frames=3), frames=frames)
    expected = np.abs(np.diff(driven.frames[0, :4].astype(float), axis=0)).mean() / 255
    assert value(temporal_flicker(held)) == pytest.approx(expected, rel=1e-5)
    for baseline in BASELINES.values():
        assert max(baseline(held).frames) < 4


@pytest.mark.real
def test_on_real_footage_they_are_small(kitti: Clip) -> None:
    assert value(self_fitted_sampson(kitti)) < 1.0
    assert value(tsed(kitti)) < 0.2
    assert value(warping_error(kitti)) < value(temporal_flicker(kitti))
