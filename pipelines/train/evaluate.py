"""Evaluate: what a model can do on held-out clips, into the table of the run, MLflow, a printed table and a picture."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from rich import get_console
from rich.box import SIMPLE_HEAD
from rich.table import Table

from driveforge.finetune.evaluation.callback import EvaluationCallback
from driveforge.finetune.evaluation.clips import EvaluationClip
from driveforge.finetune.evaluation.evaluate import evaluate
from driveforge.finetune.evaluation.results import Evaluation, append_evaluation
from driveforge.finetune.world_model.model import WorldModel, compute_model_digest
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import plain_text
from driveforge.pipelines.plots.contact_sheet import write_png
from driveforge.pipelines.plots.continuation import render_continuations
from driveforge.pipelines.registry.models import read_lineage, resolve_checkpoint
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.pipelines.train.evaluation_clips import load_evaluation_set
from driveforge.pipelines.train.settings import EvaluateSettings

# What the table on screen shows of each domain, and how a column is headed.
COLUMNS = {
    "loss\nmoving": "loss/continuation/{}/moving",
    "loss\nstatic": "loss/continuation/{}/static",
    "mover\npx": "moving_objects/ade",
    "mover\nstays": "moving_objects/permanence",
    "thing\npx": "static_objects/ade",
    "points\npx": "points/static",
    "next\ndB": "next_frame/psnr",
    "looks\n": "frechet/appearance",
    "motion\n": "frechet/motion",
}


def main(config: Config, args: argparse.Namespace) -> None:
    """Evaluate one model; what the table held of it gives way."""
    model_name = args.model or str(config.run.model)
    folder = resolve_checkpoint(replace(config, model=replace(config.model, checkpoint=model_name)))
    with pipeline_run(config, "evaluate") as tracker:
        evaluation = evaluate_model(config, folder, tracker)
    get_console().print(results_table(config.evaluate, evaluation, model_name))


def evaluate_model(config: Config, folder: Path, tracker: Tracker) -> Evaluation:
    """Evaluate the model in ``folder``; its values go to ``evaluation.parquet`` and MLflow, some clips to a picture."""
    evaluation_set = load_evaluation_set(config, folder)
    settings = config.evaluate
    shown: dict[str, tuple[EvaluationClip, NDArray[np.uint8]]] = {}
    model = WorldModel.from_pretrained(folder)
    evaluation = evaluate(model, evaluation_set, settings, lambda clip, frames: _keep_first(shown, clip, frames))
    step, digest, path = read_num_steps(folder), compute_model_digest(folder), config.run.evaluation
    append_evaluation(path, evaluation, step=step, model=digest)
    tracker.log_params({"evaluated": {"model": digest, "step": step, "protocol": evaluation.protocol}})
    tracker.log_metrics(
        {f"evaluation/{domain}/{name}": mean for (domain, name), mean in evaluation.means().items()}, step
    )
    tracker.log_artifact(path)
    if shown:
        picture = config.run.evaluation_picture
        write_png(picture, render_continuations(list(shown.values()), settings.context_frames))
        tracker.log_artifact(picture)
    return evaluation


def evaluation_callbacks(config: Config, checkpoint: Path) -> list[Callback]:
    """What evaluates a fine-tune from ``checkpoint`` into the table of the run; none if ``evaluate.every`` is 0."""
    if config.evaluate.every == 0:
        return []
    evaluation_set, path = load_evaluation_set(config, checkpoint), config.run.evaluation
    settings, base = config.evaluate, compute_model_digest(checkpoint)
    return [EvaluationCallback(evaluation_set, settings, path, steps=config.evaluate.every, base=base)]


def read_num_steps(folder: Path) -> int:
    """Optimiser steps since the base: what the lineage of a fine-tuned model tells, 0 where it has none."""
    training = read_lineage(folder).get("training")
    steps = training.get("steps", 0) if isinstance(training, dict) else 0
    return steps if isinstance(steps, int) else 0


def results_table(config: EvaluateSettings, evaluation: Evaluation, model_name: str) -> Table:
    """Means by domain of what tells most; the loss is that of the upper noise levels, where motion is decided."""
    means = evaluation.means()
    low, high = sorted(config.sigma_edges)[-2:]
    names = {heading: name.format(f"{low:g}-{high:g}") for heading, name in COLUMNS.items()}
    table = Table(
        title=plain_text(f"{model_name}, gone on from {config.context_frames} frames"),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("domain", no_wrap=True)
    for heading in names:
        table.add_column(heading, justify="right", no_wrap=True)
    for domain in dict.fromkeys(value.domain for value in evaluation.values):
        found = (means.get((domain, name)) for name in names.values())
        table.add_row(plain_text(domain), *("-" if value is None else f"{value:.3g}" for value in found))
    table.caption = (
        f"loss at noise {low:g} to {high:g}; errors of objects that move by themselves, of things that stand and of "
        "points of the background in px of 256 rows; share of movers still there at the end; PSNR of the next frame; "
        "squared Frechet distances of looks and motion; -: nothing to measure"
    )
    table.caption_justify = "left"
    return table


def _keep_first(
    shown: dict[str, tuple[EvaluationClip, NDArray[np.uint8]]], clip: EvaluationClip, frames: NDArray[np.uint8]
) -> None:
    """The first clip of each domain."""
    shown.setdefault(clip.domain, (clip, frames))
