"""The evaluation of a perfect model, its repeatability, and that it changes nothing in the model."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.clips import EvaluationSet, make_evaluation_set
from driveforge.finetune.evaluation.evaluate import evaluate, evaluate_frames, repeat_last_frame
from driveforge.finetune.evaluation.metrics import HIGHER_IS_BETTER
from driveforge.finetune.evaluation.results import Evaluation
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca, make_vae
from driveforge.finetune.world_model.wan_codec import WanCodec, to_vae_input
from tests.defaults import evaluation_settings
from tests.finetune.evaluation.sliding_board import make_sliding_clip

SETTINGS = evaluation_settings(num_steps=2, batch_size=2)
SIZES = TinyConfig(latent_channels=24, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)


class Perfect(TinyWorldModel):
    """Looks up the clip by its first frame, and returns the true velocity."""

    known: Tensor  # (N,Z,F,h,w)

    def forward(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        first = (self.known[None, :, :, 0] - conditions.warped[:, None, :, 0]).abs().sum((2, 3, 4))
        return (noisy - self.known[first.argmin(1)]) / sigma.view(-1, 1, 1, 1, 1)


@pytest.fixture(scope="module")
def model() -> TinyWorldModel:
    torch.manual_seed(0)
    vae = make_vae(SIZES.latent_channels, SIZES.patch_size)
    pixels = np.concatenate([make_sliding_clip(seed=seed).frames for seed in range(3)])
    initialize_from_pca(vae, to_vae_input(torch.from_numpy(pixels)))
    model = TinyWorldModel.from_config(SIZES, WanCodec(vae))
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    return model


@pytest.fixture(scope="module")
def evaluation_set(model: TinyWorldModel) -> EvaluationSet:
    return make_evaluation_set(model.encoder, [make_sliding_clip(seed=seed) for seed in range(3)])


@pytest.fixture(scope="module")
def evaluation(model: TinyWorldModel, evaluation_set: EvaluationSet) -> Evaluation:
    return evaluate(model, evaluation_set, SETTINGS)


def test_a_perfect_model_has_no_loss_and_the_true_motion(model: TinyWorldModel, evaluation_set: EvaluationSet) -> None:
    perfect = Perfect(model.config, model.transformer, model.codec)
    perfect.known = torch.stack([clip.tensors.latents.float() for clip in evaluation_set.clips])
    means = {measure: mean for (_, measure), mean in evaluate(perfect, evaluation_set, SETTINGS).means().items()}
    losses = [mean for measure, mean in means.items() if measure.startswith("loss/")]
    assert len(losses) == 4 * 3 and max(losses) < 1e-6
    assert means["moving_objects/ade"] < 0.5 and means["moving_objects/permanence"] == 1.0
    assert means["next_frame/psnr"] > 45 and means["next_frame/ssim"] > 0.99


def test_every_clip_has_every_measure_or_a_reason(evaluation: Evaluation, evaluation_set: EvaluationSet) -> None:
    measures = {value.measure for value in evaluation.values}
    assert measures >= HIGHER_IS_BETTER
    assert {f"loss/continuation/0.75-1/{region}" for region in ("all", "moving", "static")} <= measures
    keys = [(value.clip_id, value.measure) for value in evaluation.values]
    assert len(keys) == len(set(keys))
    of_sets = {m for m in measures if m.startswith("frechet/")}
    assert len(keys) == 3 * len(measures - of_sets) + len(of_sets)
    few = {value.reason for value in evaluation.values if value.measure in of_sets}
    assert few == {"fewer than 8 clips of the domain"}


def test_equal_weights_give_equal_values_and_other_weights_do_not(
    model: TinyWorldModel, evaluation_set: EvaluationSet, evaluation: Evaluation
) -> None:
    assert evaluate(model, evaluation_set, SETTINGS) == evaluation
    other = TinyWorldModel.from_config(SIZES, model.codec)
    assert evaluate(other, evaluation_set, SETTINGS) != evaluation


def test_the_values_of_a_clip_do_not_depend_on_the_rest_of_the_set(
    model: TinyWorldModel, evaluation_set: EvaluationSet, evaluation: Evaluation
) -> None:
    single = EvaluationSet(clips=evaluation_set.clips[2:], codec_digest=evaluation_set.codec_digest)
    expected = [v for v in evaluation.values if v.clip_id == "sliding-2"]
    found = [v for v in evaluate(model, single, replace(SETTINGS, batch_size=1)).values if v.clip_id]
    for a, b in zip(found, expected, strict=True):
        assert (a.measure, a.reason) == (b.measure, b.reason)
        assert a.value == (None if b.value is None else pytest.approx(b.value, rel=1e-2, abs=1e-2))


def test_model_and_global_generators_are_not_changed(model: TinyWorldModel, evaluation_set: EvaluationSet) -> None:
    model.train()
    model.caption.eval()
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    evaluate(model, evaluation_set, SETTINGS)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_losses_are_the_same_without_dynamics(
    model: TinyWorldModel, evaluation_set: EvaluationSet, evaluation: Evaluation
) -> None:
    losses = evaluate(model, evaluation_set, replace(SETTINGS, dynamics=False))
    assert [v for v in evaluation.values if v.measure.startswith("loss/")] == list(losses.values)


def test_the_loss_with_all_conditions_differs(model: TinyWorldModel, evaluation_set: EvaluationSet) -> None:
    settings = replace(SETTINGS, dynamics=False, modes=("continuation", "commanded"), sigma_edges=(0.5, 1.0))
    means = evaluate(model, evaluation_set, settings).means()
    assert means["walkers", "loss/commanded/0.5-1/all"] != means["walkers", "loss/continuation/0.5-1/all"]


def test_the_protocol_depends_on_set_and_settings(
    model: TinyWorldModel, evaluation_set: EvaluationSet, evaluation: Evaluation
) -> None:
    fewer = EvaluationSet(clips=evaluation_set.clips[:2], codec_digest=evaluation_set.codec_digest)
    others = [
        evaluate_frames(evaluation_set, replace(SETTINGS, seed=1), lambda clip: repeat_last_frame(clip, 4)).protocol,
        evaluate_frames(
            evaluation_set, replace(SETTINGS, num_steps=3), lambda clip: repeat_last_frame(clip, 4)
        ).protocol,
        evaluate_frames(fewer, SETTINGS, lambda clip: repeat_last_frame(clip, 4)).protocol,
    ]
    assert len({evaluation.protocol, *others}) == 4
    assert evaluate_frames(evaluation_set, SETTINGS, lambda clip: clip.frames).protocol == evaluation.protocol


def test_a_model_with_another_codec_is_rejected(model: TinyWorldModel, evaluation_set: EvaluationSet) -> None:
    with pytest.raises(UserError, match="another codec"):
        evaluate(TinyWorldModel.from_config(SIZES), evaluation_set, SETTINGS)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"context_frames": 1}, "context_frames"),
        ({"sigma_edges": (0.5, 0.2)}, "sigma_edges"),
        ({"num_steps": 0}, "num_steps"),
    ],
)
def test_invalid_settings_are_rejected(change: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        replace(SETTINGS, **change)


def test_an_evaluation_set_has_at_least_one_clip_and_no_clip_twice(evaluation_set: EvaluationSet) -> None:
    with pytest.raises(UserError, match="twice"):
        EvaluationSet(clips=(*evaluation_set.clips, evaluation_set.clips[0]), codec_digest=evaluation_set.codec_digest)
    with pytest.raises(UserError, match="at least one"):
        EvaluationSet(clips=(), codec_digest="")
