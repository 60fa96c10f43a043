"""Calibration on known-good clips: limits for every measure at a chosen false-reject rate.

Cross-conformal calibration (Vovk, "Cross-conformal predictors", 2015) over folds of whole scenes: every clip is scored
by tail models that are fitted on the other folds, and the threshold is the ceil((n + 1)(1 - a))-th smallest of these n
scores, separately for every bucket of similar clips with enough scenes (Mondrian); other clips use the next wider
bucket. The tail models for new clips are fitted on all clips, so no clip is set aside. In return the guarantee is
weaker: 1 - 2a is proven for limits of this kind (Barber et al., "Predictive inference with the jackknife+", 2021, for
thresholds that keep the fits of all folds), while they reach 1 - a in practice. The audit checks this: each fold is
evaluated under the thresholds of the others.
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
from driveforge.validation.tail_model import COVARIATE_CLIPS

NUM_FOLDS = 10
MIN_FIT_SCENES = 10
# Models without one fold have slopes on covariates if those on all clips have them: they would score clips by another
# rule otherwise.
FOLD_COVARIATE_CLIPS = COVARIATE_CLIPS * (NUM_FOLDS - 1) // NUM_FOLDS
# A bucket gets its own threshold if about this many of its clips are above it, so that a few odd clips do not determine
# it. Slopes on covariates make most of the difference between buckets already.
MIN_EXCEEDANCES = 10
SIMULATED = "simulated"
SIMULATED_NOTE = "FROM SIMULATED CLIPS: these limits are not valid for real footage."


@dataclass(frozen=True, kw_only=True, slots=True)
class _ScoredClip:
    """A good clip with its score under the models of the other folds."""

    measures: Measures
    scene: str
    fold: int
    score: float


def num_scenes_needed(false_reject_rate: float) -> int:
    """The fewest scenes that support a false-reject rate: ceil(1 / a) - 1, and ``MIN_FIT_SCENES`` outside each fold."""
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
    """Fit limits to the measures of known-good clips.

    ``scenes`` names the recording of each clip (by default each clip is its own); clips of one scene are never in
    different folds. Raises UserError if there are too few scenes for the rate.
    """
    if not 0 < false_reject_rate < 1:
        raise UserError(f"false_reject_rate must be between 0 and 1, got {false_reject_rate}")
    scenes = [measures.clip_id for measures in clip_measures] if scenes is None else list(scenes)
    if len(scenes) != len(clip_measures):
        raise UserError(f"{len(clip_measures)} clips to calibrate on, but {len(scenes)} scenes")
    trackers = sorted({measures.tracker for measures in clip_measures})
    if len(trackers) > 1:
        raise UserError(
            f"clips tracked by {' and by '.join(trackers)} have different limits; measure all with one tracker"
        )
    if len(set(scenes)) < num_scenes_needed(false_reject_rate):
        raise UserError(
            f"clips of {len(set(scenes))} scenes cannot support a false-reject rate of {false_reject_rate:g}: "
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
        tail_models=tuple(model for model in tail_models if criterion_of(model.measure) in fitted_criteria),
        tails=tails,
        thresholds=_fit_thresholds(scored, false_reject_rate),
        audit=_audit_folds(scored, false_reject_rate),
    )


def _assign_folds(rigs: Mapping[str, str], rate: float) -> dict[str, int]:
    """The fold of each scene that is held out; ``rigs`` has the rig of each scene.

    Every rig is distributed over the folds. A rig with a single scene is never held out, since the other folds would
    have no clip of this rig. If that leaves too few scenes for the rate, all scenes are held out.
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
    """The totals of each held-out clip, by its number, under tail models of all clips outside its fold."""
    totals = {}
    for fold in sorted(set(folds.values())):
        scale, fitted = fit_tail_models(
            [s for s, scene in zip(clip_measures, scenes, strict=True) if folds.get(scene) != fold],
            FOLD_COVARIATE_CLIPS,
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
    """The held-out clips, each scored with criterion tails of the totals of the other folds."""
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
    # The rank ceil((n + 1)(1 - a)) of the threshold must be at most n; 1e-9 absorbs rounding, as of 1 / 0.05.
    return math.ceil(1 / rate - 1e-9) - 1


def _fit_thresholds(scored: Sequence[_ScoredClip], rate: float) -> tuple[Threshold, ...]:
    """A threshold for every bucket with enough scenes for the rate; that of every clip is last."""
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
        raise UserError(f"of {len(scores)} clips to calibrate on, too few could be measured; use other or more clips")
    return Threshold(
        bucket=bucket,
        score=scores[rank - 1],
        achieved_rate=1 - rank / (len(scores) + 1),
        num_scenes=_num_scenes(clips),
        num_clips=len(scores),
    )


def _audit_folds(scored: Sequence[_ScoredClip], rate: float) -> CalibrationAudit | None:
    """Evaluate every fold under the thresholds of the others; None if too few scenes are left without a fold."""
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
