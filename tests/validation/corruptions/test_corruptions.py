"""Properties of every corruption type."""

from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.scene_json import scene_from_json, scene_to_json
from driveforge.validation.corruptions.catalog import CORRUPTIONS, GROUPS, corrupt
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.measures import Measures, measure
from tests.validation.corruption_clips import bare, content, numbered, simulated
from tests.validation.street import street

ON_THE_COMMAND = {
    "yaw-rate",
    "lateral-drift",
    "speed",
    "pose-jitter",
    "focal-length",
    "object-teleport",
    "object-drift",
    "uncommanded-parked",
    "uncommanded-moving",
    "missing-vehicle",
    "camera-yaw",
    "camera-pitch",
}
SHORTER = {"skip", "camera-async"}


@pytest.fixture(scope="session")
def elsewhere() -> Clip:
    return street(seed=1)


def clip_for(corruption_type: str, clip: Clip) -> Clip:
    """The simulated clip; for a missing vehicle, which needs a free place, a clip of an empty street."""
    return clip if corruption_type == "missing-vehicle" else simulated()


def test_the_catalog_is_consistent() -> None:
    assert len(CORRUPTIONS) >= 24
    for name, about in CORRUPTIONS.items():
        assert about.name == name
        assert about.group in GROUPS
        assert 0 < about.mild < about.strong
        about.check(about.mild)
        about.check(about.strong)
        assert about.unit and about.description


@pytest.mark.parametrize("corruption_type", CORRUPTIONS)
def test_a_type_is_deterministic_and_does_not_change_its_input(
    corruption_type: str, clip: Clip, elsewhere: Clip
) -> None:
    good, strength = clip_for(corruption_type, clip), CORRUPTIONS[corruption_type].strong
    before = content(good)
    corrupted = corrupt(good, corruption_type, strength, seed=5, other=elsewhere)
    again = corrupt(good, corruption_type, strength, seed=5, other=elsewhere)
    assert content(good) == before
    assert content(corrupted) == content(again)
    assert corrupted.scene.clip_id.startswith(f"{good.scene.clip_id}-{corruption_type}-")
    assert content(Clip(scene=scene_from_json(scene_to_json(corrupted.scene)), frames=corrupted.frames)) == content(
        corrupted
    )


@pytest.mark.parametrize("corruption_type", CORRUPTIONS)
def test_a_type_changes_the_command_or_the_pixels_but_not_both(
    corruption_type: str, clip: Clip, elsewhere: Clip
) -> None:
    good = clip_for(corruption_type, clip)
    corrupted = corrupt(good, corruption_type, CORRUPTIONS[corruption_type].mild, seed=2, other=elsewhere)
    if corruption_type in ON_THE_COMMAND:
        np.testing.assert_array_equal(corrupted.frames, good.frames)
        assert scene_to_json(replace(corrupted.scene, clip_id=good.scene.clip_id)) != scene_to_json(good.scene)
        return
    kept = corrupted.scene.num_frames
    assert (kept < good.scene.num_frames) == (corruption_type in SHORTER)
    assert (corrupted.frames != good.frames[:, :kept]).any()
    np.testing.assert_array_equal(corrupted.scene.ego_to_world, good.scene.ego_to_world[:kept])
    for before, after in zip(good.scene.tracks, corrupted.scene.tracks, strict=True):
        np.testing.assert_array_equal(after.box_to_world, before.box_to_world[:kept])


@pytest.mark.parametrize("corruption_type", CORRUPTIONS)
def test_strength_0_changes_nothing(corruption_type: str, clip: Clip, elsewhere: Clip) -> None:
    good = clip_for(corruption_type, clip)
    assert content(corrupt(good, corruption_type, 0, seed=0, other=elsewhere)) == content(good)


@pytest.mark.parametrize("corruption_type", sorted(set(CORRUPTIONS) - {"freeze", "stutter", "swap", "shuffle", "skip"}))
def test_the_effect_grows_with_the_strength(corruption_type: str, clip: Clip, elsewhere: Clip) -> None:
    about, good = CORRUPTIONS[corruption_type], clip_for(corruption_type, clip)
    mild, strong = (corrupt(good, corruption_type, x, seed=4, other=elsewhere) for x in (about.mild, about.strong))
    assert 0 < _difference(mild, good) < _difference(strong, good)


def _difference(corrupted: Clip, good: Clip) -> float:
    """The sum of all differences of two clips."""
    kept = corrupted.scene.num_frames
    lost = good.scene.num_frames - kept
    pixels = np.abs(corrupted.frames.astype(int) - good.frames[:, :kept]).sum()
    path = np.abs(corrupted.scene.ego_to_world - good.scene.ego_to_world[:kept]).sum()
    cameras = sum(
        np.abs(a.intrinsics - b.intrinsics).sum() + np.abs(a.camera_to_ego - b.camera_to_ego).sum()
        for a, b in zip(corrupted.scene.cameras, good.scene.cameras, strict=True)
    )
    boxes = sum(
        np.abs(a.box_to_world - b.box_to_world[:kept]).sum() + (a.present != b.present[:kept]).sum()
        for a, b in zip(corrupted.scene.tracks, good.scene.tracks, strict=False)
    )
    more = sum(track.present.sum() for track in corrupted.scene.tracks[len(good.scene.tracks) :])
    return float(lost + pixels + path + cameras + boxes + more)


@pytest.mark.parametrize(
    ("corruption_type", "raised"),
    [
        ("yaw-rate", "pose_yaw"),
        ("pose-jitter", "track_epipolar_adjacent"),
        ("boil", "time_boil"),
        ("flicker", "time_flicker_global"),
        ("vanish", "object_replaced"),
        ("missing-vehicle", "object_unsupported"),
        ("object-growth", "object_scale"),
        ("object-drift", "object_drift"),
        ("identity-swap", "object_appearance"),
    ],
)
def test_corruptions_are_measured(corruption_type: str, raised: str, clip: Clip, good: Measures) -> None:
    corrupted = measure(corrupt(clip, corruption_type, CORRUPTIONS[corruption_type].strong, seed=1))
    assert corrupted[raised].value > 2 * good[raised].value


@pytest.mark.parametrize(
    ("corruption_type", "strength", "message"),
    [
        ("freeze", 2.5, "the strength of freeze must be a whole number of frames, got 2.5"),
        ("vanish", 101, "the strength of vanish must be from 0 to 100 (% of frames), got 101"),
        ("yaw-rate", -1, "the strength of yaw-rate must be 0 or more (deg/s), got -1"),
        ("speed", float("nan"), "the strength of speed must be 0 or more (%), got nan"),
        ("boil", float("inf"), "the strength of boil must be 0 or more (gray levels), got inf"),
        ("evaporate", 1, "no corruption type 'evaporate'; there are yaw-rate, lateral-drift"),
    ],
)
def test_unknown_types_and_strengths_are_refused(corruption_type: str, strength: float, message: str) -> None:
    with pytest.raises(UserError) as error:
        corrupt(numbered(17), corruption_type, strength, seed=0)
    assert str(error.value).startswith(message)
    assert not isinstance(error.value, CorruptionNotApplicable)


def test_a_seed_is_not_negative() -> None:
    with pytest.raises(UserError, match="seed of a corruption must be 0 or more, got -1"):
        corrupt(numbered(17), "freeze", 2, seed=-1)


@pytest.mark.parametrize("corruption_type", sorted(name for name, about in CORRUPTIONS.items() if about.requirements))
def test_a_clip_without_the_requirements_is_not_applicable(corruption_type: str) -> None:
    with pytest.raises(CorruptionNotApplicable, match=f"bare: {corruption_type} needs an(other clip| ego pose)"):
        corrupt(
            bare(np.zeros((17, 96, 160, 3), np.uint8)), corruption_type, CORRUPTIONS[corruption_type].strong, seed=0
        )


@pytest.mark.parametrize(
    ("corruption_type", "lacking", "message"),
    [
        ("vanish", {"tracks": ()}, "needs commanded boxes"),
        ("camera-yaw", {}, "needs two calibrated cameras"),
        ("uncommanded-parked", {}, "no parked object is visible for long enough"),
    ],
)
def test_a_street_without_suitable_objects(
    corruption_type: str, lacking: dict[str, object], message: str, clip: Clip
) -> None:
    with pytest.raises(CorruptionNotApplicable, match=message):
        corrupt(clip.with_scene(**lacking), corruption_type, CORRUPTIONS[corruption_type].strong, seed=0)


@pytest.mark.parametrize(
    ("corruption_type", "strength", "least"),
    [("freeze", 6, 8), ("stutter", 3, 6), ("swap", 3, 6), ("shuffle", 8, 8), ("skip", 4, 8)],
)
def test_a_clip_that_is_too_short_is_refused(corruption_type: str, strength: float, least: int) -> None:
    corrupt(numbered(least), corruption_type, strength, seed=0)
    with pytest.raises(CorruptionNotApplicable, match=f"needs {least} frames or more, but has {least - 1}"):
        corrupt(numbered(least - 1), corruption_type, strength, seed=0)


@pytest.mark.parametrize("corruption_type", ["freeze", "shuffle", "reverse", "local-warp"])
def test_a_corruption_without_effect_is_refused(corruption_type: str) -> None:
    still = bare(np.full((17, 96, 160, 3), 90, np.uint8))
    with pytest.raises(CorruptionNotApplicable, match="changes nothing"):
        corrupt(still, corruption_type, CORRUPTIONS[corruption_type].strong, seed=0)


@pytest.mark.parametrize("corruption_type", ["yaw-rate", "lateral-drift"])
def test_one_frame_cannot_drift(corruption_type: str, clip: Clip) -> None:
    with pytest.raises(CorruptionNotApplicable, match="changes nothing"):
        corrupt(clip.with_scene(held_frames=16), corruption_type, 5, seed=0)


def test_held_frames_are_left_out(clip: Clip) -> None:
    held = clip.with_scene(held_frames=5)
    corrupted = corrupt(held, "reverse", 100, seed=0)
    assert (corrupted.scene.num_frames, corrupted.scene.held_frames) == (12, 0)
    np.testing.assert_array_equal(corrupted.frames, clip.frames[:, 11::-1])


@pytest.mark.real
@pytest.mark.parametrize("corruption_type", CORRUPTIONS)
def test_real_footage_with_a_pose_and_no_boxes(corruption_type: str, kitti: Clip, elsewhere: Clip) -> None:
    about = CORRUPTIONS[corruption_type]
    if "boxes" in about.requirements or "cameras" in about.requirements:
        with pytest.raises(CorruptionNotApplicable, match=f"{corruption_type} needs"):
            corrupt(kitti, corruption_type, about.strong, seed=0, other=elsewhere)
    elif corruption_type == "missing-vehicle":
        with pytest.raises(CorruptionNotApplicable, match="the height of the ground is unknown"):
            corrupt(kitti, corruption_type, about.strong, seed=0)
    else:
        corrupt(kitti, corruption_type, about.mild, seed=0, other=elsewhere)
