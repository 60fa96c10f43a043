import numpy as np
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.clips import make_evaluation_set
from driveforge.finetune.evaluation.loss_forgetting import make_loss_forgetting_metric
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca, make_vae
from driveforge.finetune.world_model.wan_codec import WanCodec, to_vae_input
from tests.defaults import evaluation_settings
from tests.finetune.evaluation.sliding_board import make_sliding_clip

SIZES = TinyConfig(latent_channels=24, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)


def test_forgetting_is_the_relative_increase_of_the_loss_over_the_base() -> None:
    torch.manual_seed(0)
    clips, vae = [make_sliding_clip(seed=seed) for seed in range(2)], make_vae(SIZES.latent_channels, SIZES.patch_size)
    initialize_from_pca(vae, to_vae_input(torch.from_numpy(np.concatenate([clip.frames for clip in clips]))))
    base = TinyWorldModel.from_config(SIZES, WanCodec(vae))
    evaluation_set, settings = make_evaluation_set(base.encoder, clips), evaluation_settings(dynamics=False)
    measure_forgetting = make_loss_forgetting_metric(base, evaluation_set, settings, ["walkers"])
    assert measure_forgetting(base) == {"walkers": 0.0}
    torch.nn.init.constant_(base.transformer.proj_out.bias, 1.0)
    # The output is in units of the standard deviation of the error, so a bias of 1 about doubles the loss.
    assert 0.5 < measure_forgetting(base)["walkers"] < 2.0
    with pytest.raises(UserError, match="no clips of orbit"):
        make_loss_forgetting_metric(base, evaluation_set, settings, ["orbit", "walkers"])
