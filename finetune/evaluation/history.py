"""The evaluations of a run in order, and the transfer and forgetting between them."""

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
    """The evaluation of ``model`` (a digest, or ``step-<step>``) after ``step`` optimizer steps of a run."""

    step: int
    model: str
    evaluation: Evaluation


def read_history(path: Path) -> list[CheckpointEvaluation]:
    """The evaluations in the table at ``path``, by step. Raises UserError if it is not such a table."""
    return [
        CheckpointEvaluation(step=step, model=model, evaluation=found)
        for (step, model), found in read_evaluations(path).items()
    ]


def compute_transfer(history: Sequence[Evaluation], measure: str, domains: Collection[str]) -> dict[str, float]:
    """``backward_transfer`` and ``forgetting`` of the last model in ``domains``, which the first model has learned.

    In the unit of the measure, over clips on which all models have a value; empty if there are none.
    """
    scores, common_domains = compute_scores(history, measure, domains)
    if len(history) < 2 or not common_domains:
        return {}
    learned_at = [0] * len(common_domains)
    return {"backward_transfer": backward_transfer(scores, learned_at), "forgetting": forgetting(scores, learned_at)}


def compute_scores(history: Sequence[Evaluation], measure: str, domains: Collection[str]) -> tuple[Array, list[str]]:
    """Mean scores (K, D) of K models, higher is better, and the D domains in which all have a common clip."""
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
