"""Cosmos-Predict2 Video2World (2B, 14B): context frames are fed clean, and marked by a mask channel.

The transformer predicts the velocity noise - data at the noise level t = s / (s + 1), with s the standard deviation of
EDM (Karras et al. 2022, arXiv 2206.00364). As in diffusers, its rotary embedding numbers frames in units of 1/24 s, by
the frame rate of the clip; NVIDIA's own configurations of these models set ``rope_enable_fps_modulation`` to false,
which numbers latent frames alike at every rate, as diffusers does at 24 Hz.

Two choices differ from ``Cosmos2VideoToWorldPipeline``: context frames are encoded as the mode of the posterior, not as
a sample of it, and are followed by gray, not by copies of the last one. The second has no effect, because encoding is
causal and only the latent frames of the context are used. The safety checker is not loaded. Released models were
trained with one or two latent context frames; without any, the mask is zero.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from diffusers.models.transformers import transformer_cosmos
from diffusers.utils import is_torchvision_available
from numpy.typing import NDArray
from torch import Tensor, nn

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.scene import Scene
from driveforge.finetune.world_model.clip_encoder import ClipEncoder
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.families.released import TOKEN_CELLS, ReleasedWorldModel
from driveforge.finetune.world_model.grafts import Grafts
from driveforge.finetune.world_model.pipeline_folder import make_scheduler, read_index, read_scheduler
from driveforge.finetune.world_model.serialization import PART_CONFIG_FILE, read_part_config
from driveforge.finetune.world_model.solvers import EdmSolver, Solver
from driveforge.finetune.world_model.wan_codec import WanCodec
from driveforge.finetune.world_model.wan_hooks import ForwardHook, add_embedding, hooks_registered

_PIPELINE = "Cosmos2VideoToWorldPipeline"
# Standard deviations of the noise, which the pipeline sets whatever the configuration of its scheduler is.
_SIGMA_MAX, _SIGMA_MIN = 80.0, 0.002
# The standard deviation that context frames are said to have.
_CONTEXT_SIGMA = 1e-4
# Training drew log s from a normal distribution and multiplied s by the square root of the latent frames of a clip.
_TRAINED_LATENT_FRAMES = 24


class Cosmos2Codec(WanCodec):
    """Normalizes latents in the order of operations of ``Cosmos2VideoToWorldPipeline``."""

    def normalize(self, latents: Tensor) -> Tensor:
        return (latents - self._statistic("latents_mean")) / self._statistic("latents_std")

    def denormalize(self, latents: Tensor) -> Tensor:
        return latents * self._statistic("latents_std") + self._statistic("latents_mean")


class Cosmos2WorldModel(ReleasedWorldModel):
    """A pipeline ``Cosmos2VideoToWorldPipeline`` of Cosmos-Predict2, with grafts."""

    family = "cosmos2"
    transformer_class = CosmosTransformer3DModel
    codec_class = Cosmos2Codec
    modulations_per_block = 3
    released_frames = 93
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")

    @classmethod
    def max_tokens(cls, config: Mapping[str, Any]) -> tuple[int, int]:
        frames, height, width = config["max_size"]
        return frames, min(height, width) // TOKEN_CELLS

    @classmethod
    def require_pipeline(cls, directory: Path) -> None:
        name = read_index(directory).get("_class_name")
        if name != _PIPELINE:
            raise UserError(f"{directory} holds a {shorten(name)}; model={cls.family} takes {_PIPELINE}")
        channels = read_part_config(AutoencoderKLWan, directory / "vae")["z_dim"]
        folder = directory / cls.find_parts(directory)[0]
        required = {
            "in_channels": channels + 1,
            "out_channels": channels,
            "patch_size": (1, TOKEN_CELLS, TOKEN_CELLS),
            "extra_pos_embed_type": None,
            "use_crossattn_projection": False,
            "img_context_dim_in": None,
        }
        _require_values(folder / PART_CONFIG_FILE, read_part_config(CosmosTransformer3DModel, folder), required)
        scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_karras_sigmas": True}
        _require_values(directory / "scheduler" / "scheduler_config.json", read_scheduler(directory), scheduler)

    @classmethod
    def make_encoder(cls, directory: Path, codec: WanCodec) -> ClipEncoder:
        return Cosmos2ClipEncoder(codec)

    @property
    def sigma_shift(self) -> float:
        return sqrt(_TRAINED_LATENT_FRAMES)

    def make_pipeline_solver(self, num_steps: int) -> Solver:
        if num_steps < 2:
            raise UserError(f"model={self.family} takes at least 2 sampling steps, got {num_steps}; set num_steps")
        return EdmSolver(_karras_sigmas(self.scheduler_config, num_steps), _SIGMA_MAX)

    def forward(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        assert conditions.frame_rate is not None
        # The transformer takes one frame rate per call.
        rates = conditions.frame_rate.tolist()
        if len(set(rates)) == 1:
            return self._run(noisy, sigma, conditions, rates[0])
        velocity = torch.zeros_like(noisy)
        for rate in sorted(set(rates)):
            rows = (conditions.frame_rate == rate).nonzero()[:, 0]
            velocity[rows] = self._run(noisy[rows], sigma[rows], conditions.select(rows), rate)
        return velocity

    def _run(self, noisy: Tensor, sigma: Tensor, conditions: Conditions, frame_rate: float) -> Tensor:
        """The velocity of clips of one frame rate, 0 for clips of a single frame."""
        transformer, grafts = self.transformers["transformer"], self.grafts["transformer"]
        assert isinstance(grafts, Grafts)
        num_views, num_frames = conditions.num_views, noisy.shape[2]
        hooks: dict[nn.Module, Any] = {
            transformer.patch_embed: add_embedding(grafts.embed(conditions).movedim(1, -1)),
            transformer.time_embed: _add_time_modulation(
                grafts.modulation(conditions).repeat_interleave(num_frames, 0)
            ),
            transformer.rope: _repeat_tokens(num_views),
        }
        with ExitStack() as stack:
            stack.enter_context(hooks_registered(hooks))
            stack.enter_context(transformer.rope.register_forward_pre_hook(_keep_first_view(num_views)))
            output = transformer(
                hidden_states=noisy.to(transformer.dtype),
                timestep=_frame_levels(sigma, conditions.context_mask).to(transformer.dtype),
                encoder_hidden_states=conditions.text.to(transformer.dtype),
                fps=frame_rate or None,
                condition_mask=conditions.mask.context.to(transformer.dtype),
                padding_mask=noisy.new_zeros(1, 1, *noisy.shape[3:], dtype=transformer.dtype),
                return_dict=False,
            )
        velocity: Tensor = output[0].float()
        return velocity


class Cosmos2ClipEncoder(ClipEncoder):
    """Encodes the frame rate as well, in whole mHz so that jitter of timestamps does not split a batch."""

    def encode_image(self, scene: Scene, context_frames: NDArray[np.uint8] | None) -> dict[str, Tensor]:
        return {"frame_rate": torch.tensor(round(scene.frame_rate, 3))}


def _require_values(path: Path, found: Mapping[str, Any], required: Mapping[str, Any]) -> None:
    for key, value in required.items():
        has = found.get(key)
        if (tuple(has) if isinstance(has, list) else has) != value:
            raise UserError(f"{path}: {key} must be {value} in a Cosmos-Predict2 Video2World model, got {shorten(has)}")


def _karras_sigmas(config: Mapping[str, Any], num_steps: int) -> Tensor:
    """(num_steps,) standard deviations from ``_SIGMA_MAX`` to ``_SIGMA_MIN``."""
    # The pipeline adds these keys, which the scheduler's own constructor does not have, to its configuration.
    added = ("sigma_max", "sigma_min", "sigma_data", "final_sigmas_type")
    scheduler = make_scheduler({key: value for key, value in config.items() if key not in added})
    scheduler.register_to_config(sigma_max=_SIGMA_MAX, sigma_min=_SIGMA_MIN)
    scheduler.set_timesteps(sigmas=np.linspace(0, 1, num_steps))
    sigmas: Tensor = scheduler.sigmas[:-1]
    return sigmas


def _frame_levels(sigma: Tensor, context_mask: Tensor) -> Tensor:
    """(B,1,F,1,1) noise level of each latent frame: ``sigma`` (B,), and nearly 0 in context frames."""
    context_sigma = torch.tensor(_CONTEXT_SIGMA, device=sigma.device)
    context_level = context_sigma / (context_sigma + 1)
    return context_mask * context_level + (1 - context_mask) * sigma.view(-1, 1, 1, 1, 1)


def _add_time_modulation(extra: Tensor) -> ForwardHook:
    """A hook on the time embedding that adds ``extra`` (B F, 3 D) to the modulation of every block."""

    def hook(_module: nn.Module, _inputs: object, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        modulation, *rest = outputs
        return modulation + extra.to(modulation.dtype), *rest

    return hook


def _keep_first_view(num_views: int) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    """A hook before the rotary embedding: it embeds the frames of one view, so its limit holds for every view."""

    def hook(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (hidden,) = inputs
        return (hidden[:, :, : hidden.shape[2] // num_views],)

    return hook


def _repeat_tokens(num_views: int) -> ForwardHook:
    """A hook on the rotary embedding (tokens, D) of one view: the frames of every view are numbered from zero."""

    def hook(_module: nn.Module, _inputs: object, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(x.repeat(num_views, 1) for x in outputs)

    return hook


def _resize(image: Tensor, size: list[int], interpolation: str) -> Tensor:
    return F.interpolate(image, size, mode=interpolation)


# The transformer's only use of torchvision is to resize the padding mask. Without torchvision the module has no
# ``transforms`` and every call fails, so it gets the same operation from torch. With torchvision nothing is replaced.
if not is_torchvision_available():
    transformer_cosmos.transforms = SimpleNamespace(
        functional=SimpleNamespace(resize=_resize), InterpolationMode=SimpleNamespace(NEAREST="nearest")
    )
