"""Calibration size in the validator study: what limits from few clips reject, over random calibration sets."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driveforge.pipelines.studies.validator.trials import Trial
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.verdict import judge

# Numbers of clips with a rate that they support.
SIZES = ((72, 0.05), (109, 0.01))
CASES = (("yaw-rate", "between"), ("speed", "between"), ("lateral-drift", "between"), ("vanish", "strong"))


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeResult:
    """The results of ``num_draws`` calibrations on ``num_clips`` clips each.

    ``false_rejects`` is the share of the other good clips, ``detected`` the share of corrupted clips by case: (mean,
    worst draw). ``audited`` is the mean share that the audits of the calibrations report; NaN without audits.
    """

    num_clips: int
    rate: float
    num_draws: int
    false_rejects: tuple[float, float]
    audited: float
    detected: Mapping[tuple[str, str], tuple[float, float]]


def calibration_size_section(trials: Sequence[Trial], num_draws: int, seed: int) -> str:
    """The section in Markdown; sizes with fewer than ten good clips left for the false rejects are omitted."""
    num_good = sum(not trial.corruption_type for trial in trials)
    results = [evaluate_size(trials, size, rate, num_draws, seed) for size, rate in SIZES if num_good >= size + 10]
    if not results:
        return "Too few good clips for this section.\n"
    titles = [f"{result.num_clips} clips, {result.rate:.0%}" for result in results]
    lines = ["| mean (worst draw) | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(results)]
    lines.append(
        "| false rejects | "
        + " | ".join(f"{r.false_rejects[0]:.1%} ({r.false_rejects[1]:.1%})" for r in results)
        + " |"
    )
    lines.append("| audited false rejects | " + " | ".join(f"{r.audited:.1%}" for r in results) + " |")
    for case in results[0].detected:
        cells = [f"{mean:.0%} ({worst:.0%})" for mean, worst in (result.detected[case] for result in results)]
        lines.append(f"| {' '.join(case)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{_NOTE.format(num_draws=num_draws)}"


_NOTE = """Each column has {num_draws} calibrations on a random choice of the good clips; the false rejects are those of
the good clips that are not chosen. At 1 %, the highest of 109 scores is the threshold, so a single odd good clip
decides what is detected: the worst draw has it.
"""


def evaluate_size(trials: Sequence[Trial], num_clips: int, rate: float, num_draws: int, seed: int) -> SizeResult:
    """Calibrate on ``num_draws`` random sets of ``num_clips`` good clips, and judge the other clips."""
    good = [trial.measures for trial in trials if not trial.corruption_type]
    corrupted = {
        case: [trial.measures for trial in trials if (trial.corruption_type, trial.level) == case] for case in CASES
    }
    shares: dict[tuple[str, str], list[float]] = defaultdict(list)
    for draw in range(num_draws):
        order = np.random.default_rng((seed, draw)).permutation(len(good))
        limits = calibrate([good[place] for place in order[:num_clips]], name="draw", false_reject_rate=rate)
        rest = [good[place] for place in order[num_clips:]]
        shares["good", ""].append(float(np.mean([judge(clip, limits).state == "rejected" for clip in rest])))
        shares["audit", ""].append(limits.audit.rate if limits.audit else float("nan"))
        for case, clips in corrupted.items():
            if clips:
                shares[case].append(float(np.mean([judge(clip, limits).state != "accepted" for clip in clips])))
    return SizeResult(
        num_clips=num_clips,
        rate=rate,
        num_draws=num_draws,
        false_rejects=(float(np.mean(shares["good", ""])), float(np.max(shares["good", ""]))),
        audited=float(np.mean(shares["audit", ""])),
        detected={case: (float(np.mean(shares[case])), float(np.min(shares[case]))) for case in CASES if shares[case]},
    )
