"""The page of the downstream study: its text follows from the intervals."""

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from textwrap import fill

import pyarrow as pa
import pyarrow.parquet

from driveforge.datasets.files.atomic import atomic_file, write_atomic
from driveforge.pipelines.config.build import format_value
from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.downstream.answers import answers
from driveforge.pipelines.studies.downstream.arms import ALL_GENERATED, REAL, Arm
from driveforge.pipelines.studies.downstream.average_precision import CLASSES, RANGES_M
from driveforge.pipelines.studies.downstream.comparisons import Comparison, GeneratorSummary
from driveforge.pipelines.studies.downstream.drives import FRAME_RATE, HEIGHT, NUM_FRAMES, WIDTH
from driveforge.pipelines.studies.downstream.estimates import Estimate
from driveforge.pipelines.studies.downstream.evaluation import MAIN_METRICS, OBJECTS
from driveforge.pipelines.studies.downstream.generators import ACCEPTED
from driveforge.pipelines.studies.downstream.plot import plot_study
from driveforge.pipelines.studies.downstream.settings import DownstreamStudy

SCHEMA = pa.schema(
    {
        "arm": pa.string(),
        "generator": pa.string(),
        "added_clips": pa.int64(),
        "share": pa.float64(),
        "seed": pa.int64(),
        "metric": pa.string(),
        "average_precision": pa.float64(),
    }
)


def write_report(
    page: Path, settings: DownstreamStudy, comparison: Comparison, summaries: Sequence[GeneratorSummary]
) -> None:
    """Write the page, its picture and the table of all runs next to it."""
    plot_study(page.with_suffix(".png"), comparison, summaries)
    write_runs(page.with_suffix(".parquet"), comparison)
    write_atomic(page, markdown(settings, comparison, summaries, page.stem).encode())


def write_runs(path: Path, comparison: Comparison) -> None:
    rows = [
        {
            "arm": result.arm.what,
            "generator": result.arm.generator,
            "added_clips": result.arm.count,
            "share": result.arm.share,
            "seed": result.seed,
            "metric": metric,
            "average_precision": float(values[0]),
        }
        for result in comparison.results
        for metric, values in result.metrics.items()
    ]
    with atomic_file(path) as file:
        pa.parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file)


def markdown(
    settings: DownstreamStudy, comparison: Comparison, summaries: Sequence[GeneratorSummary], stem: str
) -> str:
    """The page; ``stem`` is the name of its picture and table."""
    num_added = settings.num_generated
    method = _METHOD.format(
        real=settings.num_real, test=settings.num_test, generated=num_added, good=settings.num_good, frames=NUM_FRAMES,
        rate=FRAME_RATE, height=HEIGHT, width=WIDTH, false=settings.false_reject_rate, share=settings.share,
        steps=settings.steps, batch=settings.batch_size, seeds=settings.num_seeds,
    )  # fmt: skip
    parts = [
        "# Study: training on generated clips\n",
        f"Made by\n\n```sh\n{_command(settings)}\n```\n",
        *(f"- {_wrap(answer)}" for answer in answers(comparison, summaries)),
        f"\n![Gains over training on real clips only]({stem}.png)\n",
        "## Method\n",
        _paragraphs(method),
        "## Generators\n",
        _generator_table(summaries),
        "## An equal number of added clips\n",
        _gain_table(comparison, [arm for arm in comparison.arms if arm.equal]),
        "## All the clips that there are\n",
        _gain_table(comparison, [comparison.real, *comparison.all_clips]),
        "## Accepted against others\n",
        _pair_table(comparison),
        "## By class and distance\n",
        _range_table(comparison),
        "## Share of added frames in a batch\n",
        _sweep_table(comparison),
        _paragraphs(f"Every run is in [{stem}.parquet]({stem}.parquet)."),
    ]
    return "\n".join(parts)


def _command(settings: DownstreamStudy) -> str:
    """The command with the settings that are not the defaults; a model is named by its folder."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name != "run_dir"}
    values["checkpoints"] = [Path(name).name for name in settings.checkpoints]
    defaults = load_settings(DownstreamStudy)
    changed = [f"{key}={format_value(value).replace(', ', ',')}" for key, value in values.items()
               if format_value(value) != format_value(getattr(defaults, key))]  # fmt: skip
    return " ".join(["python -m driveforge.pipelines.studies.downstream", *changed])


_METHOD = """"Real" clips are simulated drives of {frames} frames at {rate:g} Hz and {height} x {width} px by day, at
dusk and in rain, through H.264. {real} are trained on and {test} others tested on. The generators continue the first
frames of the {real} clips under edited commands, with the edits and samplers of `driveforge generate`: {generated}
clips each. The gate is calibrated on {good} further drives through the VAE of the generator, at a false-reject rate
of {false:.0%}. Labels of generated clips are the commanded boxes, where the recording is annotated with the object,
and the commanded lanes. "Simulator" renders the same edited scenes: a perfect generator. "More real" are other
drives.

The network is a center-point detector of vehicles and people with a lane head on its features, trained from random
weights for {steps} steps of {batch} frames in all arms; a frame is from an added clip with a probability of
{share:.0%}. Every one of the {seeds} seeds has other weights, batches and, where an arm has fewer clips than there
are, other clips. Vehicles and people are evaluated by the average precision at an intersection over union of 0.5;
objects that nearer ones hide by more than half do not count. "Lanes" is the average precision of cells of 4 px,
"objects" the mean of both classes.

Intervals are 95 %. They join that of Student's t over seeds and that of the bootstrap over test clips; gains are
paired by seed and clip. Nothing is corrected for the number of comparisons. The base checkpoints were trained on
thousands of other drives of the same simulation, so a generated clip may bring what the real clips lack, and the gate
needs its own good clips. Results on real footage may differ.
"""


def _generator_table(summaries: Sequence[GeneratorSummary]) -> str:
    rows = [
        [
            one.name,
            str(one.num_clips),
            f"{one.num_accepted} ({one.num_accepted / one.num_clips:.0%})",
            *(_number(value, ".1f") for value in (one.psnr, one.psnr_accepted, one.psnr_rejected)),
        ]
        for one in summaries
    ]
    head = ["generator", "clips", "accepted", "PSNR, dB", "of accepted", "of rejected"]
    edits = list(dict.fromkeys(edit for one in summaries for edit in one.by_edit))
    accepted = [[one.name, *(_of(one.by_edit.get(edit, (0, 0))) for edit in edits)] for one in summaries]
    note = """PSNR is that against the simulator under the same command, of edits that keep the weather: how far the
clips are from right ones. The gate does not see it. Accepted and rejected clips differ in their edits too, so a
difference between them is not only one of quality. Accepted clips by edit:"""
    return f"{_table(head, rows)}\n{_paragraphs(note)}\n{_table(['generator', *edits], accepted)}"


def _of(counts: tuple[int, int]) -> str:
    return f"{counts[0]} of {counts[1]}"


def _gain_table(comparison: Comparison, arms: Sequence[Arm]) -> str:
    rows = []
    for arm in arms:
        if arm is comparison.real:
            levels = [f"{comparison.level(arm, metric).mean:.3f}" for metric in MAIN_METRICS]
            rows.append([arm.title, "", *levels])
            continue
        gains = [comparison.gain(arm, metric) for metric in MAIN_METRICS]
        rows.append([arm.title, str(arm.count), *(f"{gain.format()}, {gain.verdict}" for gain in gains)])
    return _table(["gain in average precision", "added clips", *MAIN_METRICS], rows)


def _pair_table(comparison: Comparison) -> str:
    rows = []
    for pair in comparison.pairs():
        cells = [comparison.difference(pair.arm, pair.other, metric).format() for metric in MAIN_METRICS]
        rows.append([f"{pair.arm.title} against {pair.other.what}", f"{pair.arm.count}, {pair.other.count}", *cells])
    return _table(["difference", "added clips", *MAIN_METRICS], rows)


def _range_table(comparison: Comparison) -> str:
    """Gains of the arms with an equal number of clips by class and distance."""
    names = [f"{name}, {low}-{high} m" for name in CLASSES for low, high in RANGES_M]
    arms = [arm for arm in comparison.arms if arm.equal and arm is not comparison.real]
    rows = []
    for name in (OBJECTS, *CLASSES, *names):
        real = comparison.level(comparison.real, name)
        rows.append([name, _number(real.mean, ".3f"), *(_format_gain(comparison.gain(arm, name)) for arm in arms)])
    return _table(["average precision", REAL, *(arm.title for arm in arms)], rows)


def _format_gain(gain: Estimate) -> str:
    return "" if math.isnan(gain.mean) else gain.format()


def _sweep_table(comparison: Comparison) -> str:
    rows = []
    for what in (ACCEPTED, ALL_GENERATED):
        for arm in comparison.sweep(what):
            gains = [comparison.gain(arm, metric).format() for metric in MAIN_METRICS]
            rows.append([arm.title, f"{arm.share:.0%}", str(arm.count), *gains])
    return _table(["gain", "share", "added clips", *MAIN_METRICS], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else f"{value:{form}}"


def _paragraphs(text: str) -> str:
    return "\n\n".join(fill(" ".join(part.split()), 120) for part in text.strip().split("\n\n")) + "\n"


def _wrap(text: str) -> str:
    return fill(text, 118, subsequent_indent="  ")
