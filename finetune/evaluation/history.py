"""The course of a run: its probed models in order, each against the one that it began with."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.finetune.evaluation.paired_comparison import metric_sign
from driveforge.finetune.evaluation.results import Evaluation, read_evaluations
from driveforge.finetune.evaluation.transfer import backward_transfer, forgetting


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointEvaluation:
    """What was probed of ``model``, known by the digest of its files, after ``step`` optimiser steps of a run."""

    step: int
    model: str
    evaluation: Evaluation


def read_history(path: Path) -> list[CheckpointEvaluation]:
    """The stages of a run in the table at ``path``, by step; a UserError where it is none."""
    return [
        CheckpointEvaluation(step=step, model=model, evaluation=found)
        for (step, model), found in read_evaluations(path).items()
    ]


def compute_transfer(history: Sequence[Evaluation], measure: str, domains: Collection[str]) -> dict[str, float]:
    """``backward_transfer`` and ``forgetting`` of the last model in ``domains``, which the first one had learnt.

    In the measure's unit, over clips that all models could be measured on; empty where no domain has any.
    """
    scores, common_domains = compute_scores(history, measure, domains)
    if len(history) < 2 or not common_domains:
        return {}
    learned_at = [0] * len(common_domains)
    return {"backward_transfer": backward_transfer(scores, learned_at), "forgetting": forgetting(scores, learned_at)}


def compute_scores(history: Sequence[Evaluation], measure: str, domains: Collection[str]) -> tuple[Array, list[str]]:
    """(K, D) mean scores of K models, more is better, and the D domains that all of them have a common clip of."""
    values = [
        {(v.domain, v.clip_id): v.value for v in evaluation.values if v.measure == measure and v.value is not None}
        for evaluation in history
    ]
    common = set.intersection(*map(set, values)) if values else set()
    common_domains = sorted({domain for domain, _ in common} & set(domains))
    means = [
        [np.mean([model[key] for key in common if key[0] == domain]) for domain in common_domains] for model in values
    ]
    return metric_sign(measure) * np.array(means, np.float64).reshape(len(history), len(common_domains)), common_domains
