"""Every condition can be present or absent, and an absent one is zero."""

from dataclasses import replace

import torch

from driveforge.datasets.conditioning.layout import render_layout
from driveforge.datasets.scene import Camera, Clip
from driveforge.finetune.world_model.captions import CAPTION_TOKENS, caption_ids
from driveforge.finetune.world_model.clip_encoder import BOX_WEIGHT
from driveforge.finetune.world_model.clip_tensors import ClipTensors, ConditionMask
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.families.tiny import TinyWorldModel

YES = torch.tensor([True])


def test_a_clip_becomes_tensors_of_one_grid(model: TinyWorldModel, clip: Clip) -> None:
    tensors = model.encoder.encode_clip(clip)
    assert {name: tuple(t.shape) for name, t in tensors.to_mapping().items()} == {
        "warped": (4, 5, 4, 6),
        "layout": (4, 5, 4, 6),
        "mask": (4, 5, 4, 6),
        "rays": (6, 5, 4, 6),
        "latents": (4, 5, 4, 6),
        "cell_weight": (5, 4, 6),
    }
    mask = ConditionMask.from_channels(tensors.mask)
    assert mask.context[:, 0].eq(1).all() and mask.context[:, 1:].eq(0).all()
    torch.testing.assert_close(tensors.warped[:, 0], tensors.latents[:, 0])


def test_held_frames_have_weight_zero(model: TinyWorldModel, clip: Clip) -> None:
    held = Clip(scene=replace(clip.scene, held_frames=2), frames=clip.frames)
    weight = model.encoder.encode_clip(held).cell_weight
    assert (weight[:3] >= 1).all() and not weight[3:].any()


def test_cells_with_boxes_weigh_more_and_cells_with_lanes_do_not(model: TinyWorldModel, clip: Clip) -> None:
    weight = model.encoder.encode_clip(clip).cell_weight
    boxed = torch.from_numpy(render_layout(replace(clip.scene, lanes=()), clip.scene.cameras[0]).any(-1))
    cells = boxed.unfold(1, 8, 8).unfold(2, 8, 8)
    assert cells.any() and weight[~cells.any(-1).any(-1)].eq(1).all()
    assert weight[cells.all(-1).all(-1)].eq(1 + BOX_WEIGHT).all() and weight.max() <= 1 + BOX_WEIGHT
    bare = Clip(scene=replace(clip.scene, tracks=()), frames=clip.frames)
    assert model.encoder.encode_clip(bare).cell_weight.eq(1).all()


def test_dropping_a_condition_zeroes_it_and_its_mask(model: TinyWorldModel, clip: Clip) -> None:
    tensors = model.encoder.encode_clip(clip).map(lambda tensor: tensor[None])
    full = model.batch_conditions(tensors, ["driving-day"], ["a car"])
    assert full.domain.item() == 1 and full.text.any()

    no_frames = full.without_frames(YES)
    assert not no_frames.warped.any() and no_frames.layout.any()
    assert not no_frames.mask.context.any() and not no_frames.mask.warped.any()
    no_layout = full.without_layout(YES)
    assert not no_layout.layout.any() and not no_layout.mask.has_layout.any() and no_layout.rays.any()
    no_pose = full.without_pose(YES)
    assert not no_pose.rays.any() and not no_pose.mask.has_rays.any()
    assert torch.equal(no_pose.warped[:, :, 0], full.warped[:, :, 0]) and not no_pose.warped[:, :, 1:].any()
    no_text = full.without_text(YES)
    assert not no_text.domain.any() and not no_text.text.any()
    kept = full.without_frames(~YES).without_layout(~YES).without_pose(~YES).without_text(~YES)
    assert torch.equal(kept.warped, full.warped) and torch.equal(kept.mask.to_channels(), full.mask.to_channels())


def test_without_a_pose_only_the_first_frame_is_given(model: TinyWorldModel, clip: Clip) -> None:
    scene = replace(clip.scene, ego_to_world=None, tracks=(), cameras=(Camera(name="CAM_FRONT", width=48, height=32),))
    tensors = model.encoder.encode_conditions(scene, clip.frames)
    assert not tensors.rays.any() and not tensors.layout.any() and not tensors.warped[:, 1:].any()
    mask = ConditionMask.from_channels(tensors.mask)
    assert mask.context[:, 0].all() and not mask.has_layout.any() and not mask.has_rays.any()


def test_without_first_frames_nothing_is_given(model: TinyWorldModel, clip: Clip) -> None:
    tensors = model.encoder.encode_conditions(clip.scene, None)
    mask = ConditionMask.from_channels(tensors.mask)
    assert not tensors.warped.any() and not mask.context.any() and not mask.warped.any() and tensors.layout.any()


def test_a_continuation_has_context_frames_and_no_layout_or_rays(model: TinyWorldModel, clip: Clip) -> None:
    tensors = ClipTensors.stack([model.encoder.encode_clip(clip)] * 2)
    latents = tensors.latents
    conditions = model.batch_conditions(tensors, ["driving-day"] * 2, [""] * 2)
    some = conditions.as_continuation(latents, torch.tensor([0, 3]))
    assert torch.equal(some.warped[0], conditions.warped[0]) and torch.equal(
        some.mask.to_channels()[0], conditions.mask.to_channels()[0]
    )
    assert torch.equal(some.warped[1, :, :3], latents[1, :, :3])
    assert torch.equal(some.warped[1, :, 3:], latents[1, :, 2:3].expand(-1, 2, -1, -1)), "copies of the last one"
    assert some.context_mask[1].flatten().tolist() == [1, 1, 1, 0, 0]
    assert not some.layout[1].any() and not some.rays[1].any()
    assert not some.mask.has_layout[1].any() and not some.mask.has_rays[1].any()


def test_every_view_continues_its_own_frames(model: TinyWorldModel, clip: Clip) -> None:
    one = model.encoder.encode_clip(clip)
    two = one.map(lambda tensor: torch.cat([tensor, tensor + 1], -3)[None])
    some = model.batch_conditions(two, ["driving-day"], [""], num_views=2)
    some = some.as_continuation(two.latents, torch.tensor([2]))
    assert some.context_mask.flatten().tolist() == [1, 1, 0, 0, 0] * 2
    assert torch.equal(some.warped[0, :, -1], two.latents[0, :, 6])


def test_views_are_concatenated_along_the_frames(model: TinyWorldModel, clip: Clip) -> None:
    second = replace(clip.scene.cameras[0], name="CAM_BACK")
    scene = replace(clip.scene, cameras=(clip.scene.cameras[0], second))
    both = Clip(scene=scene, frames=torch.from_numpy(clip.frames.copy()).repeat(2, 1, 1, 1, 1).flip(3).numpy())
    latents = model.encoder.encode_clip(both).latents
    assert latents.shape[1] == 10
    torch.testing.assert_close(latents[:, 5:], model.codec.encode(torch.from_numpy(both.frames[1:2].copy()))[0])


def test_captions_hash_to_stable_ids() -> None:
    ids = caption_ids("Dusk, a CAR cuts in")
    assert len(ids) == CAPTION_TOKENS and ids[5:] == [0] * (CAPTION_TOKENS - 5)
    assert ids == caption_ids("dusk a car cuts in") != caption_ids("day a car cuts in")
    assert caption_ids("") == [0] * CAPTION_TOKENS


def test_batches_of_conditions_are_joined_and_split(model: TinyWorldModel, clip: Clip) -> None:
    tensors = model.encoder.encode_clip(clip).map(lambda tensor: tensor[None])
    one = model.batch_conditions(tensors, ["driving-day"], ["a car"])
    two = Conditions.cat([one, one.unconditional()])
    second = two.select(torch.tensor([1]))
    assert two.text.shape[0] == 2 and not second.text.any()
    assert torch.equal(two.select(torch.tensor([0])).layout, one.layout)
    assert torch.equal(second.mask.has_layout, one.unconditional().mask.has_layout)
