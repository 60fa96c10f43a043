"""Loss-based forgetting, which is cheap enough to be measured repeatedly during training."""

from collections.abc import Collection

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.clips import EvaluationSet
from driveforge.finetune.evaluation.evaluate import evaluate
from driveforge.finetune.evaluation.settings import EvaluationSettings
from driveforge.finetune.training.share_callbacks import ForgettingMetric
from driveforge.finetune.world_model.model import WorldModel


def make_loss_forgetting_metric(
    base: WorldModel, evaluation_set: EvaluationSet, settings: EvaluationSettings, domains: Collection[str]
) -> ForgettingMetric:
    """A metric that returns the relative increase of a model's loss over that of ``base``, for each of ``domains``.

    The loss is the mean over all clips, modes and noise levels. Raises UserError if the set has no clip of a domain.
    """
    before = _mean_losses(base, evaluation_set, settings, domains)

    def measure_forgetting(model: WorldModel) -> dict[str, float]:
        after = _mean_losses(model, evaluation_set, settings, domains)
        return {domain: after[domain] / before[domain] - 1 for domain in domains}

    return measure_forgetting


def _mean_losses(
    model: WorldModel, evaluation_set: EvaluationSet, settings: EvaluationSettings, domains: Collection[str]
) -> dict[str, float]:
    means = evaluate(model, evaluation_set, settings).means()
    found = {d: [v for (name, measure), v in means.items() if name == d and measure.endswith("/all")] for d in domains}
    for domain, values in found.items():
        if not values:
            raise UserError(f"the evaluation set has no clips of {domain}, so its forgetting cannot be measured")
    return {domain: float(np.mean(values)) for domain, values in found.items()}
