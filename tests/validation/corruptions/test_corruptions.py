"""What holds for every kind of corruption."""

from dataclasses import replace

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.scene_json import scene_from_json, scene_to_json
from driveforge.validation.corruptions.catalogue import CORRUPTIONS, GROUPS, corrupt
from driveforge.validation.corruptions.requirements import NotApplicable
from driveforge.validation.measures import Measures, measure
from tests.validation.corruptible import bare, content, numbered, simulated
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
    "never-drawn",
    "camera-yaw",
    "camera-pitch",
}
SHORTER = {"skip", "camera-async"}


@pytest.fixture(scope="session")
def elsewhere() -> Clip:
    return street(seed=1)


def clip_for(kind: str, clip: Clip) -> Clip:
    """The simulated clip, whose road is too full for one car more, or else that of an empty street."""
    return clip if kind == "never-drawn" else simulated()


def test_the_table_is_in_order() -> None:
    assert len(CORRUPTIONS) >= 24
    for name, about in CORRUPTIONS.items():
        assert about.name == name
        assert about.group in GROUPS
        assert 0 < about.mild < about.strong
        about.check(about.mild)
        about.check(about.strong)
        assert about.unit and about.words


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_kind_repeats_exactly_and_leaves_its_input_alone(kind: str, clip: Clip, elsewhere: Clip) -> None:
    good, strength = clip_for(kind, clip), CORRUPTIONS[kind].strong
    before = content(good)
    spoilt = corrupt(good, kind, strength, seed=5, other=elsewhere)
    again = corrupt(good, kind, strength, seed=5, other=elsewhere)
    assert content(good) == before
    assert content(spoilt) == content(again)
    assert spoilt.scene.clip_id.startswith(f"{good.scene.clip_id}-{kind}-")
    assert content(Clip(scene=scene_from_json(scene_to_json(spoilt.scene)), frames=spoilt.frames)) == content(spoilt)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_kind_spoils_the_command_or_the_pixels_but_not_both(kind: str, clip: Clip, elsewhere: Clip) -> None:
    good = clip_for(kind, clip)
    spoilt = corrupt(good, kind, CORRUPTIONS[kind].mild, seed=2, other=elsewhere)
    if kind in ON_THE_COMMAND:
        np.testing.assert_array_equal(spoilt.frames, good.frames)
        assert scene_to_json(replace(spoilt.scene, clip_id=good.scene.clip_id)) != scene_to_json(good.scene)
        return
    kept = spoilt.scene.num_frames
    assert (kept < good.scene.num_frames) == (kind in SHORTER)
    assert (spoilt.frames != good.frames[:, :kept]).any()
    np.testing.assert_array_equal(spoilt.scene.ego_to_world, good.scene.ego_to_world[:kept])
    for before, after in zip(good.scene.tracks, spoilt.scene.tracks, strict=True):
        np.testing.assert_array_equal(after.box_to_world, before.box_to_world[:kept])


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_strength_0_spoils_nothing(kind: str, clip: Clip, elsewhere: Clip) -> None:
    good = clip_for(kind, clip)
    assert content(corrupt(good, kind, 0, seed=0, other=elsewhere)) == content(good)


@pytest.mark.parametrize("kind", sorted(set(CORRUPTIONS) - {"freeze", "stutter", "swap", "shuffle", "skip"}))
def test_what_is_spoilt_grows_with_the_strength(kind: str, clip: Clip, elsewhere: Clip) -> None:
    about, good = CORRUPTIONS[kind], clip_for(kind, clip)
    mild, strong = (corrupt(good, kind, x, seed=4, other=elsewhere) for x in (about.mild, about.strong))
    assert 0 < _difference(mild, good) < _difference(strong, good)


def _difference(spoilt: Clip, good: Clip) -> float:
    """A sum over all that may differ, whatever it is."""
    kept = spoilt.scene.num_frames
    lost = good.scene.num_frames - kept
    pixels = np.abs(spoilt.frames.astype(int) - good.frames[:, :kept]).sum()
    path = np.abs(spoilt.scene.ego_to_world - good.scene.ego_to_world[:kept]).sum()
    cameras = sum(
        np.abs(a.intrinsics - b.intrinsics).sum() + np.abs(a.camera_to_ego - b.camera_to_ego).sum()
        for a, b in zip(spoilt.scene.cameras, good.scene.cameras, strict=True)
    )
    boxes = sum(
        np.abs(a.box_to_world - b.box_to_world[:kept]).sum() + (a.present != b.present[:kept]).sum()
        for a, b in zip(spoilt.scene.tracks, good.scene.tracks, strict=False)
    )
    more = sum(track.present.sum() for track in spoilt.scene.tracks[len(good.scene.tracks) :])
    return float(lost + pixels + path + cameras + boxes + more)


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("yaw-rate", "pose_yaw"),
        ("pose-jitter", "track_epipolar_adjacent"),
        ("boil", "time_boil"),
        ("flicker", "time_flicker_global"),
        ("vanish", "object_replaced"),
        ("never-drawn", "object_unsupported"),
        ("object-growth", "object_scale"),
        ("object-drift", "object_drift"),
        ("identity-swap", "object_appearance"),
    ],
)
def test_what_is_spoilt_is_measured(kind: str, raised: str, clip: Clip, good: Measures) -> None:
    spoilt = measure(corrupt(clip, kind, CORRUPTIONS[kind].strong, seed=1))
    assert spoilt[raised].value > 2 * good[raised].value


@pytest.mark.parametrize(
    ("kind", "strength", "said"),
    [
        ("freeze", 2.5, "the strength of freeze is a whole number of frames, got 2.5"),
        ("vanish", 101, "the strength of vanish is in % of frames, from 0 to 100; got 101"),
        ("yaw-rate", -1, "the strength of yaw-rate is in deg/s, 0 or more; got -1"),
        ("speed", float("nan"), "the strength of speed is in %, 0 or more; got nan"),
        ("boil", float("inf"), "the strength of boil is in grey levels, 0 or more; got inf"),
        ("melt", 1, "no corruption 'melt'; there are yaw-rate, lateral-drift"),
    ],
)
def test_what_does_not_exist_is_told(kind: str, strength: float, said: str) -> None:
    with pytest.raises(UserError) as told:
        corrupt(numbered(17), kind, strength, seed=0)
    assert str(told.value).startswith(said)
    assert not isinstance(told.value, NotApplicable)


def test_a_seed_is_not_negative() -> None:
    with pytest.raises(UserError, match="seed of a corruption must be 0 or more, got -1"):
        corrupt(numbered(17), "freeze", 2, seed=-1)


@pytest.mark.parametrize("kind", sorted(name for name, about in CORRUPTIONS.items() if about.needs))
def test_a_clip_that_lacks_what_a_kind_needs_is_told_apart(kind: str) -> None:
    with pytest.raises(NotApplicable, match=f"bare: {kind} needs an(other clip| ego pose)"):
        corrupt(bare(np.zeros((17, 96, 160, 3), np.uint8)), kind, CORRUPTIONS[kind].strong, seed=0)


@pytest.mark.parametrize(
    ("kind", "lacking", "said"),
    [
        ("vanish", {"tracks": ()}, "needs commanded boxes"),
        ("camera-yaw", {}, "needs two calibrated cameras"),
        ("uncommanded-parked", {}, "no parked object is seen well for long enough"),
    ],
)
def test_a_street_without_what_a_kind_needs(kind: str, lacking: dict[str, object], said: str, clip: Clip) -> None:
    with pytest.raises(NotApplicable, match=said):
        corrupt(clip.with_scene(**lacking), kind, CORRUPTIONS[kind].strong, seed=0)


@pytest.mark.parametrize(
    ("kind", "strength", "least"),
    [("freeze", 6, 8), ("stutter", 3, 6), ("swap", 3, 6), ("shuffle", 8, 8), ("skip", 4, 8)],
)
def test_a_clip_that_is_too_short_is_told(kind: str, strength: float, least: int) -> None:
    corrupt(numbered(least), kind, strength, seed=0)
    with pytest.raises(NotApplicable, match=f"needs {least} frames or more, it has {least - 1}"):
        corrupt(numbered(least - 1), kind, strength, seed=0)


@pytest.mark.parametrize("kind", ["freeze", "shuffle", "reverse", "local-warp"])
def test_what_would_change_nothing_is_refused(kind: str) -> None:
    still = bare(np.full((17, 96, 160, 3), 90, np.uint8))
    with pytest.raises(NotApplicable, match="changes nothing"):
        corrupt(still, kind, CORRUPTIONS[kind].strong, seed=0)


@pytest.mark.parametrize("kind", ["yaw-rate", "lateral-drift"])
def test_one_frame_cannot_drift(kind: str, clip: Clip) -> None:
    with pytest.raises(NotApplicable, match="changes nothing"):
        corrupt(clip.with_scene(held_frames=16), kind, 5, seed=0)


def test_held_frames_are_left_out(clip: Clip) -> None:
    held = clip.with_scene(held_frames=5)
    spoilt = corrupt(held, "reverse", 100, seed=0)
    assert (spoilt.scene.num_frames, spoilt.scene.held_frames) == (12, 0)
    np.testing.assert_array_equal(spoilt.frames, clip.frames[:, 11::-1])


@pytest.mark.real
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_real_footage_with_a_pose_and_no_boxes(kind: str, kitti: Clip, elsewhere: Clip) -> None:
    about = CORRUPTIONS[kind]
    if "boxes" in about.needs or "cameras" in about.needs:
        with pytest.raises(NotApplicable, match=f"{kind} needs"):
            corrupt(kitti, kind, about.strong, seed=0, other=elsewhere)
    elif kind == "never-drawn":
        with pytest.raises(NotApplicable, match="nobody knows where the ground is"):
            corrupt(kitti, kind, about.strong, seed=0)
    else:
        corrupt(kitti, kind, about.mild, seed=0, other=elsewhere)
