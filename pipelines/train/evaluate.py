"""Evaluate a model on held-out clips: writes a parquet table, MLflow metrics and a picture, and prints a table."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich import get_console
from rich.box import SIMPLE_HEAD
from rich.table import Table

from driveforge.finetune.evaluation.clips import EvaluationClip, EvaluationSet
from driveforge.finetune.evaluation.evaluate import evaluate
from driveforge.finetune.evaluation.results import Evaluation, append_evaluation
from driveforge.finetune.world_model.families.registry import TEXT_STORE, load_world_model
from driveforge.finetune.world_model.model import WorldModel, compute_model_digest
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import plain_text
from driveforge.pipelines.plots.contact_sheet import write_png
from driveforge.pipelines.plots.continuation import render_continuations
from driveforge.pipelines.registry.models import read_lineage, resolve_checkpoint
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.pipelines.train.evaluation_clips import load_evaluation_set
from driveforge.pipelines.train.settings import EvaluateSettings

# Columns of the printed table, by heading; {} is the noise range of the loss.
COLUMNS = {
    "loss\nmoving": "loss/continuation/{}/moving",
    "loss\nstatic": "loss/continuation/{}/static",
    "moving\nADE px": "moving_objects/ade",
    "moving\nkept": "moving_objects/permanence",
    "static\nADE px": "static_objects/ade",
    "points\npx": "points/static",
    "next\nPSNR": "next_frame/psnr",
    "FD\nappear.": "frechet/appearance",
    "FD\nmotion": "frechet/motion",
}


def main(config: Config, args: argparse.Namespace) -> None:
    """Evaluate one model; replaces its earlier values in the table."""
    model_name = args.model or str(config.run.model)
    folder = resolve_checkpoint(replace(config, model=replace(config.model, checkpoint=model_name)))
    with pipeline_run(config, "evaluate") as tracker:
        evaluation_set = load_evaluation_set(config, folder)
        model = load_world_model(folder, config.model.dtype, config.run.latents / TEXT_STORE)
        evaluation = evaluate_model(model, folder, evaluation_set, config.evaluate, config.run, tracker)
    get_console().print(results_table(config.evaluate, evaluation, model_name))


def evaluate_model(
    model: WorldModel,
    folder: Path,
    evaluation_set: EvaluationSet,
    settings: EvaluateSettings,
    run: RunDir,
    tracker: Tracker,
) -> Evaluation:
    """Evaluate ``model``, loaded from ``folder``; logs to ``run`` and MLflow, with a picture of one clip a domain."""
    shown: dict[str, tuple[EvaluationClip, NDArray[np.uint8]]] = {}
    evaluation = evaluate(model, evaluation_set, settings, lambda clip, frames: _keep_first(shown, clip, frames))
    step, digest, path = read_num_steps(folder), compute_model_digest(folder), run.evaluation
    append_evaluation(path, evaluation, step=step, model=digest)
    tracker.log_params({"evaluated": {"model": digest, "step": step, "protocol": evaluation.protocol}})
    tracker.log_metrics(
        {f"evaluation/{domain}/{name}": mean for (domain, name), mean in evaluation.means().items()}, step
    )
    tracker.log_artifact(path)
    if shown:
        picture = run.evaluation_picture
        write_png(picture, render_continuations(list(shown.values()), settings.context_frames))
        tracker.log_artifact(picture)
    return evaluation


def read_num_steps(folder: Path) -> int:
    """Optimizer steps since the base, from the lineage of a fine-tuned model; 0 without a lineage."""
    training = read_lineage(folder).get("training")
    steps = training.get("steps", 0) if isinstance(training, dict) else 0
    return steps if isinstance(steps, int) else 0


def results_table(settings: EvaluateSettings, evaluation: Evaluation, model_name: str) -> Table:
    """Means by domain of the main metrics; the loss is that of the highest noise levels, which determine motion."""
    means = evaluation.means()
    low, high = sorted(settings.sigma_edges)[-2:]
    names = {heading: name.format(f"{low:g}-{high:g}") for heading, name in COLUMNS.items()}
    table = Table(
        title=plain_text(f"{model_name}, continued from {settings.context_frames} frames"),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("domain", no_wrap=True)
    for heading in names:
        table.add_column(heading, justify="right", no_wrap=True)
    for domain in dict.fromkeys(value.domain for value in evaluation.values):
        row = (means.get((domain, name)) for name in names.values())
        table.add_row(plain_text(domain), *("-" if value is None else f"{value:.3g}" for value in row))
    table.caption = (
        f"loss at noise levels {low:g} to {high:g}; displacement errors of moving objects, static objects and "
        "background points, in px at 256 rows; share of moving objects that are still there at the end; PSNR of the "
        "next frame, dB; squared Frechet distances of appearance and motion; -: not measurable"
    )
    table.caption_justify = "left"
    return table


def _keep_first(
    shown: dict[str, tuple[EvaluationClip, NDArray[np.uint8]]], clip: EvaluationClip, frames: NDArray[np.uint8]
) -> None:
    """The first clip of each domain."""
    shown.setdefault(clip.domain, (clip, frames))
