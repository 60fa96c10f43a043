import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.finetune.strategies.interpolation import ALPHAS, find_best_alpha, interpolate_weights
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from tests.finetune.conftest import TINY


def test_both_ends_are_exact_and_neither_model_changes(model: TinyWorldModel) -> None:
    base = TinyWorldModel.from_config(TINY, model.codec)
    kept = [{name: value.clone() for name, value in m.state_dict().items()} for m in (base, model)]
    for alpha, end in ((0.0, base), (1.0, model)):
        interpolated = interpolate_weights(base, model, alpha).state_dict()
        assert all(torch.equal(interpolated[name], value) for name, value in end.state_dict().items())
    half = interpolate_weights(base, model, 0.5)
    name = "transformer.proj_out.weight"
    torch.testing.assert_close(half.state_dict()[name], (kept[0][name] + kept[1][name]) / 2)
    half.view.weight.data += 1
    for m, before in zip((base, model), kept, strict=True):
        assert all(torch.equal(before[name], value) for name, value in m.state_dict().items())


def test_models_of_different_sizes_are_rejected(model: TinyWorldModel) -> None:
    other = TinyWorldModel.from_config(
        TinyConfig(latent_channels=4, num_layers=2, num_heads=1, head_dim=24, ffn_dim=32)
    )
    with pytest.raises(UserError, match=r"cannot be interpolated: .* more differ"):
        interpolate_weights(other, model, 0.5)


def test_the_best_alpha_is_the_first_with_the_highest_score() -> None:
    scored: list[float] = []

    def score(alpha: float) -> float:
        scored.append(alpha)
        return -abs(alpha - 0.45)

    best, scores = find_best_alpha(ALPHAS, score)
    assert best == 0.4 and scored == list(ALPHAS) == list(scores)
    assert find_best_alpha((0.0, 0.5, 1.0), lambda _: 7.0)[0] == 0.0
    with pytest.raises(UserError, match="no alphas"):
        find_best_alpha((), score)
