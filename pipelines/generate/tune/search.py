"""The search: every clip of every trial is generated, timed and measured by one worker, and judged."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.opening import open_store
from driveforge.datasets.webdataset_shards.format import dump_json, extend_metadata
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.generate.candidates import Candidate, iter_candidates
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.select import SelectedGenerator, load_selected
from driveforge.pipelines.generate.tune.grid import Trial, interleave
from driveforge.pipelines.generate.unit_runs import commit_units
from driveforge.pipelines.generate.units import WorkUnit
from driveforge.pipelines.generate.worker import candidate_members, commit_samples, generate_clip
from driveforge.pipelines.inputs.instruments import InstrumentsLoader
from driveforge.validation.calibration import Calibration
from driveforge.validation.verdict import Verdict, judge


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedClip:
    """A clip of a trial and its verdict."""

    candidate: Candidate
    verdict: Verdict

    @property
    def seconds(self) -> float:
        """Duration of generation, without measurement and storage, by the clock that ``timing`` names."""
        return float(self.candidate.metadata["seconds"])

    @property
    def timing(self) -> str:
        return str(self.candidate.metadata["timing"])


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The clips of one setting, in the same order for all settings."""

    settings: SamplerSettings
    is_current: bool
    clips: tuple[JudgedClip, ...]

    @cached_property
    def accepted(self) -> tuple[bool, ...]:
        return tuple(clip.verdict.state == "accepted" for clip in self.clips)

    @cached_property
    def share(self) -> float:
        """The accepted share of the clips."""
        return sum(self.accepted) / len(self.accepted)

    @cached_property
    def seconds(self) -> float:
        """The median duration of generation per clip."""
        return median(clip.seconds for clip in self.clips)


class TimedWorker:
    """Like the worker of generation, for units of one clip, with ``seconds`` and ``timing`` in their metadata."""

    def __init__(self, selected: SelectedGenerator, root: Path, instruments: InstrumentsLoader) -> None:
        self._generator, self._instruments = load_selected(selected), instruments()
        self._store, (self._timing, self._clock) = open_store(root), _select_clock(selected)

    def make(self, unit: WorkUnit) -> dict[str, Any]:
        (request,) = unit.requests
        start = self._clock()
        clip = generate_clip(self._generator, self._store, request)
        timing = {"seconds": self._clock() - start, "timing": self._timing}
        members, clip_id = candidate_members(request, clip, self._instruments), request.scene.clip_id
        timed = members | {"json": dump_json(extend_metadata(members["json"], timing, clip_id))}
        return {"clips": commit_samples(self._store, unit.id, [(clip_id, timed)])}


def _select_clock(selected: SelectedGenerator) -> tuple[str, Callable[[], float]]:
    """The clock of generation, and its description.

    On a CPU a model computes in this process, on one thread, and other load on the machine changes the CPU time little.
    A class of the user's own may wait for a GPU or a service.
    """
    import torch

    if torch.cuda.is_available():
        return f"wall time on one {torch.cuda.get_device_name()}", time.perf_counter
    if selected.class_name:
        return "wall time", time.perf_counter
    return "CPU time", time.process_time


def run_trials(
    root: Path,
    trials: Sequence[Trial],
    selected: SelectedGenerator,
    instruments: InstrumentsLoader,
    executor: ExecutorSettings,
) -> None:
    """Generate the clips that are not committed under ``root`` yet, on one worker, so that none slows down another.

    Raises UserError if a clip cannot be generated.
    """
    alone = replace(executor, name="local", workers=1, failure_budget=1.0)
    failed = commit_units(root, interleave(trials), partial(TimedWorker, selected, root, instruments), alone).failed
    if failed:
        reason = next(iter(failed.values()))
        raise UserError(f"{len(failed)} clips cannot be generated; finished clips are kept; the first error: {reason}")


def judge_trials(root: Path, trials: Sequence[Trial], calibration: Calibration) -> list[TrialResult]:
    """The verdicts of the committed clips of every trial."""
    committed = {candidate.ref.unit: candidate for candidate in iter_candidates(root)}
    results = []
    for trial in trials:
        candidates = [committed[unit.id] for unit in trial.units]
        clips = tuple(JudgedClip(candidate=c, verdict=judge(c.measures, calibration)) for c in candidates)
        results.append(TrialResult(settings=trial.settings, is_current=trial.is_current, clips=clips))
    return results
