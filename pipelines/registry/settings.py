"""Settings of the model registry."""

from dataclasses import dataclass
from typing import Annotated

from driveforge.finetune.evaluation.promotion_settings import PromotionRule


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """The world model that a command starts from."""

    checkpoint: Annotated[
        str, "base (shipped with driveforge), champion (see promote), champion-or-base, or a model folder"
    ]
    generator: Annotated[
        str | None,
        "class of your own that generates, package.module:Class, called with model.checkpoint; null: the model's own",
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteSettings(PromotionRule):
    """Promotion of a fine-tuned model to champion."""

    registered_as: Annotated[str, "name of the model in the MLflow registry"]
