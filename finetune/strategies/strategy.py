"""The interface of a strategy against forgetting. Its defaults are naive fine-tuning."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.flow import NoiseSample, VelocityModel
from driveforge.finetune.world_model.model import WorldModel
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import Batch

# Replay samples in the batches: none, as the settings of the share say, or in proportion to the number of samples.
ReplayMode = Literal["none", "share", "proportional"]

# The published experiments with a Fisher of rank one take some hundreds of samples too.
NUM_FISHER_SAMPLES = 128


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StrategyContext:
    """The start of a fine-tune. ``model`` has the weights of ``base``, and its adapter (if any) has no effect yet.

    ``folder`` belongs to the run; files that a strategy writes there are reused when the run is resumed. ``seed`` and
    ``continuation_prob`` are those of the training noise. A Fisher is estimated from ``num_fisher_samples`` samples.
    """

    base: Path
    model: WorldModel
    replay: ReplayBuffer | None
    folder: Path
    seed: int
    continuation_prob: float
    num_fisher_samples: int = NUM_FISHER_SAMPLES


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prediction:
    """A ``velocity`` (B,Z,F,h,w) and the inputs that it was predicted from: ``noisy`` (B,Z,F,h,w), ``sigma`` (B,).

    ``cell_weight`` (B,F,h,w) weights its error in the loss.
    """

    noisy: Tensor
    sigma: Tensor
    conditions: Conditions
    cell_weight: Tensor
    velocity: Tensor

    def select(self, rows: Tensor) -> "Prediction":
        """The samples ``rows`` (R,) of the batch."""
        return Prediction(
            noisy=self.noisy[rows],
            sigma=self.sigma[rows],
            conditions=self.conditions.select(rows),
            cell_weight=self.cell_weight[rows],
            velocity=self.velocity[rows],
        )


class RecordingModel:
    """A model that keeps its last ``prediction``, so that a strategy needs no second forward pass."""

    prediction: Prediction

    def __init__(self, model: VelocityModel, cell_weight: Tensor) -> None:
        self._model = model
        self._cell_weight = cell_weight
        self.has_clean_context = model.has_clean_context

    def __call__(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        velocity = self._model(noisy, sigma, conditions)
        self.prediction = Prediction(
            noisy=noisy, sigma=sigma, conditions=conditions, cell_weight=self._cell_weight, velocity=velocity
        )
        return velocity


class Strategy:
    """A way to reduce forgetting; a subclass overrides what differs from naive fine-tuning.

    ``weight`` scales the terms that it adds to the loss. Everything it does must be a function of the
    ``StrategyContext`` and the batch: a strategy has no state in checkpoints, and a resumed run must be exact.
    """

    name: ClassVar[str]
    replay_mode: ClassVar[ReplayMode] = "none"
    # Whether it needs replay samples, in the batches or otherwise.
    needs_buffer: ClassVar[bool] = False
    # Whether it evaluates the base or compares weights in every process. A process of a sharded run has no whole model.
    needs_whole_model: ClassVar[bool] = False
    default_weight: ClassVar[float] = 0.0

    def __init__(self, weight: float | None = None) -> None:
        self.weight = self.default_weight if weight is None else weight

    def prepare(self, context: StrategyContext) -> None:
        """Compute what training needs of the base. Called once per process, before a checkpoint is loaded."""

    def adjust_noise(self, batch: Batch, noise_sample: NoiseSample) -> NoiseSample:
        """The noise and noise levels to train the batch with."""
        return noise_sample

    def loss_terms(self, model: WorldModel, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """Scalars to add to the mean flow loss of the batch, by the name under which they are logged."""
        return {}

    def finalize(self, tuned: WorldModel, base: Path) -> WorldModel:
        """The model that the run returns; ``tuned`` has averaged weights and a merged adapter."""
        return tuned
