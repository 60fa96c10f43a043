"""How much a model has forgotten, told by its losses: cheap enough to be asked again and again while it trains."""

from collections.abc import Collection

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.clips import ProbeSet
from driveforge.finetune.evaluation.evaluate import probe
from driveforge.finetune.evaluation.settings import ProbeSettings
from driveforge.finetune.training.shares import Probe
from driveforge.finetune.world_model.model import WorldModel


def loss_forgetting(base: WorldModel, probe_set: ProbeSet, settings: ProbeSettings, domains: Collection[str]) -> Probe:
    """By how much the loss of a model lies above that of ``base``, as a share of it, in each of ``domains``.

    The loss is the mean over all clips, modes and noise levels. A UserError where the set has no clip of a domain.
    """
    before = _losses(base, probe_set, settings, domains)

    def forgotten(model: WorldModel) -> dict[str, float]:
        after = _losses(model, probe_set, settings, domains)
        return {domain: after[domain] / before[domain] - 1 for domain in domains}

    return forgotten


def _losses(
    model: WorldModel, probe_set: ProbeSet, settings: ProbeSettings, domains: Collection[str]
) -> dict[str, float]:
    means = probe(model, probe_set, settings).means()
    found = {d: [v for (name, measure), v in means.items() if name == d and measure.endswith("/all")] for d in domains}
    for domain, values in found.items():
        if not values:
            raise UserError(f"the probe has no clips of {domain}, so nothing can tell whether it is forgotten")
    return {domain: float(np.mean(values)) for domain, values in found.items()}
