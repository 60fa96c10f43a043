"""The study: records, generates, judges, trains and evaluates, and writes the page."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driveforge.datasets.files.atomic import make_folder
from driveforge.pipelines.console import print_result
from driveforge.pipelines.generate.edits import parse_edit
from driveforge.pipelines.processes.threads import limit_threads
from driveforge.pipelines.studies.downstream.arms import list_arms
from driveforge.pipelines.studies.downstream.comparisons import Comparison, GeneratorSummary
from driveforge.pipelines.studies.downstream.drives import Drive, load_clip
from driveforge.pipelines.studies.downstream.generators import (
    ACCEPTED,
    TEST,
    GeneratedClip,
    generate_requests,
    open_checkpoints,
    record_drives,
    recording_path,
    simulate_requests,
)
from driveforge.pipelines.studies.downstream.report import write_report
from driveforge.pipelines.studies.downstream.runs import run_arms
from driveforge.pipelines.studies.downstream.settings import DownstreamStudy


def study_downstream(settings: DownstreamStudy, page: Path) -> None:
    """Write the page with its picture and its table; clips and runs are kept in the run folder."""
    limit_threads()
    checkpoints = open_checkpoints(settings.checkpoints)
    real = [Drive(seed=settings.seed, number=number) for number in range(settings.num_real)]
    more = [Drive(seed=settings.seed, number=settings.num_real + n) for n in range(settings.num_generated)]
    test = [Drive(seed=settings.seed + TEST, number=number) for number in range(settings.num_test)]
    record_drives([*real, *more, *test], settings.run_dir)
    simulated = simulate_requests(settings, real)
    generated = [(checkpoint, generate_requests(settings, checkpoint, real)) for checkpoint in checkpoints]
    more_real = [
        GeneratedClip(path=recording_path(settings.run_dir, drive), drive=drive, edit="", state=ACCEPTED)
        for drive in more
    ]
    arms = list_arms(settings, more_real, simulated, generated)
    comparison = Comparison(arms=arms, results=run_arms(settings, arms, real, test), share=settings.share)
    summaries = [summarize(checkpoint.name, clips, simulated) for checkpoint, clips in generated]
    make_folder(page.parent)
    write_report(page, settings, comparison, summaries)
    print_result(page)


def summarize(name: str, clips: Sequence[GeneratedClip], simulated: Sequence[GeneratedClip]) -> GeneratorSummary:
    """The numbers of a generator; its clips are compared with those of the simulator for the same commands."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    for clip, perfect in zip(clips, simulated, strict=True):
        # The simulator draws the light of another weather anew, so only its own weather can be compared.
        if parse_edit(clip.edit).keeps_first_frame:
            errors[clip.state == ACCEPTED].append(_psnr(clip.path, perfect.path))
    return GeneratorSummary(
        name=name,
        by_edit={
            edit: (sum(clip.edit == edit and clip.state == ACCEPTED for clip in clips), count)
            for edit, count in Counter(clip.edit for clip in clips).items()
        },
        psnr=_mean([*errors[True], *errors[False]]),
        psnr_accepted=_mean(errors[True]),
        psnr_rejected=_mean(errors[False]),
    )


def _psnr(path: Path, other: Path) -> float:
    """Peak signal-to-noise ratio in dB of the frames after the first, which is given."""
    frames, others = (load_clip(one)[0].frames[:, 1:].astype(np.float64) for one in (path, other))
    return float(10 * np.log10(255**2 / np.mean((frames - others) ** 2)))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
