"""Limits for every measure from known-good clips, such that a chosen share of good clips, and no more, is rejected.

Cross-conformal calibration (Vovk, "Cross-conformal predictors", 2015) over folds of whole scenes: every clip is scored
by expectations that were fitted on the other folds, and the threshold is the ceil((n + 1)(1 - a))-th smallest of these
n scores, for every bucket of like clips that has scenes enough (Mondrian); others fall back on the next wider bucket.
The expectations that judge new clips are fitted on all clips, so none is spent on one purpose alone. The price is the
guarantee: for limits of this kind 1 - 2a is proven (Barber et al., "Predictive inference with the jackknife+", 2021,
for thresholds that keep the fits of all folds), while 1 - a is what they show in practice. The audit tells: each fold
held against the threshold of the others.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.validation.calibration import (
    Calibration,
    CalibrationAudit,
    Threshold,
    clopper_pearson_upper_bound,
    list_buckets,
    select_threshold,
)
from driveforge.validation.catalog import criterion_of
from driveforge.validation.covariates import EVERY_CLIP
from driveforge.validation.nonconformity import (
    combine_by_criterion,
    compute_clip_score,
    compute_nonconformity_scores,
    fit_criterion_tails,
    fit_tail_models,
    rig_name,
)
from driveforge.validation.records import Measures

NUM_FOLDS = 10
MIN_FIT_SCENES = 10
# A bucket has a threshold of its own where about as many of its clips as this lie beyond it, so that no one odd clip
# sets it.
MIN_EXCEEDANCES = 3
SIMULATED = "simulated"
SIMULATED_NOTE = "MADE FROM SIMULATED CLIPS: these limits do not hold for real footage."


@dataclass(frozen=True, kw_only=True, slots=True)
class _ScoredClip:
    """A good clip with the score that the other folds give it."""

    measures: Measures
    scene: str
    fold: int
    score: float


def num_scenes_needed(false_reject_rate: float) -> int:
    """The fewest scenes that can carry a false-reject rate: ceil(1 / a) - 1, and ``MIN_FIT_SCENES`` beside any fold."""
    min_outside_fold = next(
        n for n in range(MIN_FIT_SCENES, 2 * MIN_FIT_SCENES) if n - math.ceil(n / NUM_FOLDS) >= MIN_FIT_SCENES
    )
    return max(_num_scores_needed(false_reject_rate), min_outside_fold)


def calibrate(
    clip_measures: Sequence[Measures],
    *,
    name: str,
    false_reject_rate: float = 0.05,
    scenes: Sequence[str] | None = None,
) -> Calibration:
    """Limits from the measures of known-good clips.

    ``scenes`` says which recording each clip is from (by default each is its own); clips of one scene never stand in
    two folds. A UserError where there are too few scenes for the rate.
    """
    if not 0 < false_reject_rate < 1:
        raise UserError(f"false_reject_rate must lie between 0 and 1, got {false_reject_rate}")
    scenes = [measures.clip_id for measures in clip_measures] if scenes is None else list(scenes)
    if len(scenes) != len(clip_measures):
        raise UserError(f"{len(clip_measures)} clips but {len(scenes)} scenes were given to calibrate on")
    trackers = sorted({measures.tracker for measures in clip_measures})
    if len(trackers) > 1:
        raise UserError(f"clips followed by {' and by '.join(trackers)} share no limits; measure all with one tracker")
    if len(set(scenes)) < num_scenes_needed(false_reject_rate):
        raise UserError(
            f"clips of {len(set(scenes))} scenes cannot carry a false-reject rate of {false_reject_rate:g}: "
            f"{num_scenes_needed(false_reject_rate)} scenes are needed; add some or raise validate.false_reject_rate"
        )
    folds = _assign_folds(dict(zip(scenes, map(rig_name, clip_measures), strict=True)), false_reject_rate)
    totals = _out_of_fold_totals(clip_measures, scenes, folds)
    tails = fit_criterion_tails(list(totals.values()))
    fitted_criteria = {tail.criterion for tail in tails}
    scale, tail_models = fit_tail_models(clip_measures)
    scored = _score_held_out(clip_measures, scenes, folds, totals)
    return Calibration(
        name=name,
        note=SIMULATED_NOTE if any(measures.source.startswith(SIMULATED) for measures in clip_measures) else "",
        digest=_digest(clip_measures),
        tracker=trackers[0],
        false_reject_rate=false_reject_rate,
        num_fit_clips=len(clip_measures),
        covariate_scale=scale,
        tail_models=tuple(e for e in tail_models if criterion_of(e.measure) in fitted_criteria),
        tails=tails,
        thresholds=_fit_thresholds(scored, false_reject_rate),
        audit=_audit_folds(scored, false_reject_rate),
    )


def _assign_folds(rigs: Mapping[str, str], rate: float) -> dict[str, int]:
    """The fold of each scene that is ever held out, of the rig of each scene.

    Every rig is spread over the folds. A rig of one scene is always fitted: held out, it would be judged by other rigs.
    """
    num_scenes = Counter(rigs.values())
    held_out = [scene for scene in rigs if num_scenes[rigs[scene]] > 1]
    if len(held_out) < _num_scores_needed(rate):
        held_out = list(rigs)
    order = sorted(held_out, key=lambda scene: (rigs[scene], hashlib.sha256(scene.encode()).digest()))
    return {scene: rank % NUM_FOLDS for rank, scene in enumerate(order)}


def _out_of_fold_totals(
    clip_measures: Sequence[Measures], scenes: Sequence[str], folds: Mapping[str, int]
) -> dict[int, dict[str, float]]:
    """By number of each clip that is held out: its totals by expectations of all clips outside its fold."""
    totals = {}
    for fold in sorted(set(folds.values())):
        scale, fitted = fit_tail_models(
            [s for s, scene in zip(clip_measures, scenes, strict=True) if folds.get(scene) != fold]
        )
        tail_models = {tail_model.measure: tail_model for tail_model in fitted}
        for number, scene in enumerate(scenes):
            if folds.get(scene) == fold:
                totals[number] = combine_by_criterion(
                    compute_nonconformity_scores(clip_measures[number], scale, tail_models)
                )
    return totals


def _score_held_out(
    clip_measures: Sequence[Measures],
    scenes: Sequence[str],
    folds: Mapping[str, int],
    totals: Mapping[int, dict[str, float]],
) -> list[_ScoredClip]:
    """The held-out clips, each scored under the tails of the other folds' totals."""
    tails = {
        fold: fit_criterion_tails([total for number, total in totals.items() if folds[scenes[number]] != fold])
        for fold in set(folds.values())
    }
    return [
        _ScoredClip(
            measures=clip_measures[number],
            scene=scenes[number],
            fold=(fold := folds[scenes[number]]),
            score=compute_clip_score(total, tails[fold]),
        )
        for number, total in totals.items()
    ]


def _num_scores_needed(rate: float) -> int:
    return math.ceil(1 / rate - 1e-9) - 1


def _fit_thresholds(scored: Sequence[_ScoredClip], rate: float) -> tuple[Threshold, ...]:
    """One for every bucket whose scenes can carry the rate, that of every clip last."""
    buckets: dict[str, list[_ScoredClip]] = {}
    for clip in scored:
        for bucket in list_buckets(clip.measures):
            buckets.setdefault(bucket, []).append(clip)
    all_clips = buckets.pop(EVERY_CLIP)
    min_scenes = MIN_EXCEEDANCES * _num_scores_needed(rate)
    calibrated = {bucket: clips for bucket, clips in sorted(buckets.items()) if _num_scenes(clips) >= min_scenes}
    return tuple(_fit_threshold(bucket, clips, rate) for bucket, clips in {**calibrated, EVERY_CLIP: all_clips}.items())


def _num_scenes(clips: Sequence[_ScoredClip]) -> int:
    return len({clip.scene for clip in clips})


def _fit_threshold(bucket: str, clips: Sequence[_ScoredClip], rate: float) -> Threshold:
    scores = sorted(clip.score for clip in clips)
    rank = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    if not math.isfinite(scores[rank - 1]):
        raise UserError(f"of {len(scores)} clips to calibrate on, too few could be measured; give others, or more")
    return Threshold(
        bucket=bucket,
        score=scores[rank - 1],
        achieved_rate=1 - rank / (len(scores) + 1),
        num_scenes=_num_scenes(clips),
        num_clips=len(scores),
    )


def _audit_folds(scored: Sequence[_ScoredClip], rate: float) -> CalibrationAudit | None:
    """Every fold under the thresholds of the others; None where a fold leaves too few scenes to carry the rate."""
    rejected = 0
    for fold in {clip.fold for clip in scored}:
        others = [clip for clip in scored if clip.fold != fold]
        if _num_scenes(others) < _num_scores_needed(rate):
            return None
        thresholds = _fit_thresholds(others, rate)
        rejected += sum(
            clip.score > select_threshold(thresholds, clip.measures).score for clip in scored if clip.fold == fold
        )
    return CalibrationAudit(
        num_scenes=_num_scenes(scored),
        num_clips=len(scored),
        num_rejected=rejected,
        upper_bound=clopper_pearson_upper_bound(rejected, len(scored)),
    )


def _digest(clip_measures: Sequence[Measures]) -> str:
    records: list[dict[str, Any]] = sorted(
        (m.to_json() for m in clip_measures), key=lambda record: str(record["clip_id"])
    )
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()[:16]
