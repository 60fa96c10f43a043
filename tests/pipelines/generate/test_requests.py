"""Requests: identity, planning, and stored first frames."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driveforge.datasets.edits import EDITS
from driveforge.datasets.errors import UserError
from driveforge.pipelines.generate.plan.planner import plan_requests
from driveforge.pipelines.generate.requests import (
    Request,
    load_first_frames,
    request_from_json,
    request_to_json,
    store_first_frames,
)
from driveforge.pipelines.generate.settings import GenerateSettings
from tests.defaults import sampler_settings
from tests.pipelines.scenes import driving_scene

WITH_FRAME = sampler_settings(num_steps=4, strength=0.7, inpaint_steps=2, inpaint_strength=0.9, guidance_scale=1.5)
WITHOUT_FRAME = sampler_settings(num_steps=9, strength=1.0, inpaint_steps=0, guidance_scale=2.5)


def request(**changes: Any) -> Request:
    fields: dict[str, Any] = {
        "scene": driving_scene(yaw_rate=0.1),
        "seed": 7,
        "model": "m1",
        "settings": sampler_settings(sigmas=(0.9, 0.3)),
        "edit": "slower",
        "first_frames": "abc.npy",
    }
    return Request(**{**fields, **changes})


def settings(**changes: Any) -> GenerateSettings:
    fields: dict[str, Any] = {
        "source_split": "all",
        "num_clips": 12,
        "num_first_frames": 1,
        "clips_per_unit": 2,
        "balance": (),
        "screen_scenes": False,
        "retries": (),
        "edits": ("as-recorded", "rain", "agent-shifts"),
        "sampler": WITH_FRAME,
        "sampler_without_frame": WITHOUT_FRAME,
        "seed": 3,
    }
    return GenerateSettings(**{**fields, **changes})


def plan(**changes: Any) -> list[Request]:
    scenes = [driving_scene(f"scene-{i}", yaw_rate=i / 10) for i in range(3)]
    return plan_requests(scenes, lambda scene: f"{scene.clip_id}.npy", settings(**changes), "m1")


def test_a_request_survives_json() -> None:
    before = request()
    after = request_from_json(request_to_json(before))
    assert after.id == before.id
    assert after.settings == before.settings
    np.testing.assert_array_equal(after.scene.ego_to_world, before.scene.ego_to_world)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"model": "m2"},
        {"settings": sampler_settings(num_steps=11, sigmas=(0.9, 0.3))},
        {"edit": "as-recorded"},
        {"first_frames": ""},
        {"scene": driving_scene(yaw_rate=0.1000001)},
    ],
)
def test_the_id_depends_on_every_field(change: dict[str, Any]) -> None:
    assert request(**change).id != request().id
    assert request().id == request().id


def test_a_wrong_record_is_named_in_the_error() -> None:
    record = request_to_json(request())
    del record["seed"]
    with pytest.raises(UserError, match=r"plan line 3.*seed"):
        request_from_json(record, "plan line 3")


def test_the_plan_repeats_and_covers_scenes_and_edits() -> None:
    first, second = plan(), plan()
    assert [r.id for r in first] == [r.id for r in second]
    assert len({r.id for r in first}) == len({r.scene.clip_id for r in first}) == len({r.seed for r in first}) == 12
    pairs = {(r.scene.clip_id.split("-")[1], r.edit) for r in first[:9]}
    assert len(pairs) == 9, "nine clips of three scenes under three edits are all different"


def test_a_longer_plan_extends_a_shorter_one() -> None:
    assert [r.id for r in plan(num_clips=20)[:12]] == [r.id for r in plan()]


def test_few_clips_are_spread_over_the_data() -> None:
    scenes = [driving_scene(f"s{i:03d}") for i in range(100)]
    requests = plan_requests(scenes, lambda _: "", settings(num_clips=10), "m1")
    numbers = sorted(int(r.scene.clip_id[1:4]) for r in requests)
    assert len(set(numbers)) == 10
    assert max(np.diff([-1, *numbers, 100])) <= 25


def test_first_frames_are_used_only_by_edits_that_keep_them() -> None:
    for r in plan():
        assert bool(r.first_frames) == EDITS[r.edit].keeps_first_frame


def test_scenes_without_an_applicable_edit_are_skipped() -> None:
    scenes = [replace(driving_scene("empty"), tracks=()), driving_scene("busy")]
    requests = plan_requests(scenes, lambda _: "", settings(edits=("agent-brakes",), num_clips=3), "m1")
    assert [r.scene.clip_id.split("-")[0] for r in requests] == ["busy"] * 3
    with pytest.raises(UserError, match="no scene supports any of the edits agent-brakes"):
        plan_requests(scenes[:1], lambda _: "", settings(edits=("agent-brakes",)), "m1")


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(UserError, match=r"no edit 'snow'; did you mean slow\?"):
        plan(edits=("snow",))
    with pytest.raises(UserError, match="edits"):
        plan(edits=())
    with pytest.raises(UserError, match="no scene to generate from"):
        plan_requests([], lambda _: "", settings(), "m1")


def test_poses_past_the_end_of_a_recording_are_commanded() -> None:
    scene = replace(driving_scene(), held_frames=4)
    assert plan_requests([scene], lambda _: "", settings(num_clips=1), "m1")[0].scene.held_frames == 0


def test_first_frames_are_stored_once_under_their_content(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, 1, 8, 10, 3), np.uint8)
    name = store_first_frames(tmp_path, frames)
    assert store_first_frames(tmp_path, frames.copy()) == name
    assert store_first_frames(tmp_path, frames + 1) != name
    assert len(list(tmp_path.iterdir())) == 2
    np.testing.assert_array_equal(load_first_frames(tmp_path, name), frames)
    assert load_first_frames(tmp_path, "") is None
    with pytest.raises(UserError, match=r"gone\.npy is missing"):
        load_first_frames(tmp_path, "gone.npy")


def test_damaged_first_frames_are_refused_and_stored_again(tmp_path: Path) -> None:
    frames = np.zeros((1, 1, 4, 6, 3), np.uint8)
    name = store_first_frames(tmp_path, frames)
    intact = (tmp_path / name).read_bytes()
    for damaged in (intact[:-1] + b"\1", intact[:50], b"\0" * len(intact), b""):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(UserError, match=f"{name} is (damaged|missing)"):
            load_first_frames(tmp_path, name)
        assert store_first_frames(tmp_path, frames) == name
        np.testing.assert_array_equal(load_first_frames(tmp_path, name), frames)


def test_clips_without_a_first_frame_have_their_own_sampler_settings() -> None:
    requests = plan()
    with_frame = {request.settings for request in requests if request.first_frames}
    without_frame = {request.settings for request in requests if not request.first_frames}
    assert with_frame == {WITH_FRAME}
    assert without_frame == {WITHOUT_FRAME}


# Ids of requests for a straight drive, whose poses are the same floats on every machine.
STORED_IDS = {
    "agent-brakes": "beb9b879228c1b90b271157ae3a30870",
    "agent-shifts": "aa91cc1d353bc31b0388639740895062",
    "as-recorded": "ca4611099e2f5d3ce452107f1850a072",
    "day": "a1b9e71e4248678e1f7d27daa22f7504",
    "dusk": "1662a78cb789697d8cd1d1d91c8c1036",
    "mirror-yaw": "52b272e2a53ee06f8e9d3fa4eaa270df",
    "rain": "4b4a5311f516b366ba723d45d9ae1b97",
    "shift-left": "9f15124a68ff06ddf36c5b73f2bf66a6",
    "shift-right": "efec08c1393229f9ce16d1dbea0191ab",
    "slower": "282d3a55410a019967c80211de002d6e",
}


@pytest.mark.parametrize("name", sorted(EDITS))
def test_the_ids_of_named_edits_never_change(name: str) -> None:
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, 0, 3] = 1.5 * np.arange(9)
    scene = driving_scene("s")
    lead = poses @ np.array([[1, 0, 0, 12.0], [0, 1, 0, 1.0], [0, 0, 1, 0.75], [0, 0, 0, 1]])
    scene = replace(
        scene,
        domain="driving-dusk" if name == "day" else "driving-day",
        timestamps=np.arange(9) / 8,
        ego_to_world=poses,
        tracks=(replace(scene.tracks[0], box_to_world=lead),),
    )
    requests = plan_requests([scene], lambda _: "f.npy", settings(edits=(name,), num_clips=1), "m1")
    assert [request.id for request in requests] == [STORED_IDS[name]]
