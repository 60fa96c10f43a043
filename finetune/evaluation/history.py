"""The course of a run: its probed models in order, each against the one that it began with."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.finetune.evaluation.paired import sign_of
from driveforge.finetune.evaluation.results import Probed, read_probed
from driveforge.finetune.evaluation.transfer import backward_transfer, forgetting


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What was probed of ``model``, known by the digest of its files, after ``step`` optimiser steps of a run."""

    step: int
    model: str
    probed: Probed


def read_course(path: Path) -> list[Stage]:
    """The stages of a run in the table at ``path``, by step; a UserError where it is none."""
    return [Stage(step=step, model=model, probed=found) for (step, model), found in read_probed(path).items()]


def transfer_of(course: Sequence[Probed], measure: str, domains: Collection[str]) -> dict[str, float]:
    """``backward_transfer`` and ``forgetting`` of the last model in ``domains``, which the first one had learnt.

    In the measure's unit, over clips that all models could be measured on; empty where no domain has any.
    """
    scores, kept = scores_of(course, measure, domains)
    if len(course) < 2 or not kept:
        return {}
    learnt = [0] * len(kept)
    return {"backward_transfer": backward_transfer(scores, learnt), "forgetting": forgetting(scores, learnt)}


def scores_of(course: Sequence[Probed], measure: str, domains: Collection[str]) -> tuple[Array, list[str]]:
    """(K, D) mean scores of K models, more is better, and the D domains that all of them have a common clip of."""
    values = [
        {(v.domain, v.clip_id): v.value for v in probed.values if v.measure == measure and v.value is not None}
        for probed in course
    ]
    common = set.intersection(*map(set, values)) if values else set()
    kept = sorted({domain for domain, _ in common} & set(domains))
    means = [[np.mean([model[key] for key in common if key[0] == domain]) for domain in kept] for model in values]
    return sign_of(measure) * np.array(means, np.float64).reshape(len(course), len(kept)), kept
