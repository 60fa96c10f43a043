"""Settings of the model registry."""

from dataclasses import dataclass
from typing import Annotated, Literal

from driveforge.finetune.evaluation.promotion_settings import PromotionRule


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """The world model that a command starts from: a family, recognized from the folder, and a checkpoint.

    ``model=wan``, ``model=wan22`` or ``model=cosmos2`` also set the sampler of that family.
    """

    name: Literal["tiny", "wan", "wan22", "cosmos2"]
    checkpoint: Annotated[
        str,
        "base (shipped with driveforge), champion (see promote), champion-or-base, a model folder, the folder of a "
        "diffusers pipeline, or its name on the Hugging Face Hub",
    ]
    dtype: Annotated[Literal["float32", "bfloat16"], "of the weights; tiny models are always in float32"]
    generator: Annotated[
        str | None,
        "class of your own that generates, package.module:Class, called with model.checkpoint; null: the model's own",
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteSettings(PromotionRule):
    """Promotion of a fine-tuned model to champion."""

    registered_as: Annotated[str, "name of the model in the MLflow registry"]
