"""Synthetic evaluations with given scores on a few clips of every domain."""

from collections.abc import Mapping, Sequence

from driveforge.finetune.evaluation.results import Evaluation, EvaluationValue


def evaluation(scores: Mapping[tuple[str, str], Sequence[float | None]], protocol: str = "p1") -> Evaluation:
    """``scores[domain, measure]`` are those of the clips ``<domain>-0``, ``<domain>-1``, ...; None has no value."""
    return Evaluation(
        protocol=protocol,
        values=tuple(
            EvaluationValue(
                clip_id=f"{domain}-{n}",
                domain=domain,
                measure=measure,
                value=score,
                reason="hidden" if score is None else "",
            )
            for (domain, measure), found in scores.items()
            for n, score in enumerate(found)
        ),
    )
