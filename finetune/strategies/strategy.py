"""What a strategy may do to a fine-tune. What it leaves alone is naive fine-tuning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.flow import NoiseSample, VelocityModel
from driveforge.finetune.world_model.model import WorldModel
from driveforge.replay.buffer import ReplayBuffer

# Replay samples in the batches: none, as the share says, or as many as their part in all samples there are.
ReplayMode = Literal["none", "share", "proportional"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StrategyContext:
    """What a run starts from. ``model`` holds the weights of ``base``, its adapter (if any) still without effect.

    ``folder`` is the run's own: what is made there once is found again by a resumed run. ``seed`` and ``continuation_prob`` are
    those of the training draws.
    """

    base: Path
    model: WorldModel
    replay: ReplayBuffer | None
    folder: Path
    seed: int
    continuation_prob: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prediction:
    """What the model was asked and what it said: ``noisy`` and ``velocity`` (B,Z,F,h,w), ``sigma`` (B,)."""

    noisy: Tensor
    sigma: Tensor
    conditions: Conditions
    velocity: Tensor


class RecordingModel:
    """A model that remembers its last ``prediction``, so that strategies need not ask it again."""

    prediction: Prediction

    def __init__(self, model: VelocityModel) -> None:
        self._model = model

    def __call__(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        velocity = self._model(noisy, sigma, conditions)
        self.prediction = Prediction(noisy=noisy, sigma=sigma, conditions=conditions, velocity=velocity)
        return velocity


class Strategy:
    """One way to keep what the base knew; a subclass overrides what it does otherwise than naive fine-tuning.

    ``weight`` is the factor of what it adds to the loss. All that it does must be a function of the ``StrategyContext`` and of
    the batch, so that a resumed run is exact without a state of its own.
    """

    name: ClassVar[str]
    replay_mode: ClassVar[ReplayMode] = "none"
    # Whether it cannot do without replay samples, be they in the batches or not.
    needs_buffer: ClassVar[bool] = False
    default_weight: ClassVar[float] = 0.0

    def __init__(self, weight: float | None = None) -> None:
        self.weight = self.default_weight if weight is None else weight

    def prepare(self, context: StrategyContext) -> None:
        """Take from the base what training will need. Called once in a process, before any checkpoint is loaded."""

    def adjust_noise(self, batch: Mapping[str, Any], noise_sample: NoiseSample) -> NoiseSample:
        """The noise and noise levels that this batch is to be trained at."""
        return noise_sample

    def loss_terms(self, model: WorldModel, batch: Mapping[str, Any], prediction: Prediction) -> dict[str, Tensor]:
        """Scalars that are added to the mean flow loss of the batch, by the name under which they are logged."""
        return {}

    def finalize(self, tuned: WorldModel, base: Path) -> WorldModel:
        """The model that the run ends with; ``tuned`` has its averaged weights, and no adapter any more."""
        return tuned
