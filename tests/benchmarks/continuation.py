"""Continuation without commands: ``python -m tests.benchmarks.continuation MODEL ... [--steps 1 4]``.

Evaluates models on the default evaluation clips, against a still frame that repeats the last context frame. Prints a
Markdown table of means over the domains, and the protocol. Clips are stored in ``runs/evaluation``.
"""

import argparse
import itertools
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from driveforge.finetune.evaluation.evaluate import evaluate, evaluate_frames, repeat_last_frame
from driveforge.finetune.evaluation.results import Evaluation
from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.train.evaluation_clips import load_evaluation_set

MEASURES = {
    "PSNR of the next frame, dB": "next_frame/psnr",
    "SSIM of the next frame": "next_frame/ssim",
    "points of the background, px": "points/static",
    "moving objects, px": "moving_objects/ade",
    "static objects, px": "static_objects/ade",
    "permanence of moving objects": "moving_objects/permanence",
    "Frechet distance of appearance": "frechet/appearance",
    "loss at noise 0.75 to 1": "loss/continuation/0.75-1/all",
}


def format_mean(evaluation: Evaluation, measure: str) -> str:
    means = [mean for (_, name), mean in evaluation.means().items() if name == measure and mean is not None]
    return f"{np.mean(means):.3g}" if means else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="model folders with the same VAE")
    parser.add_argument("--steps", type=int, nargs="+", default=[compose([]).evaluate.num_steps], help="sampling steps")
    args = parser.parse_args()
    config = compose([])
    settings, clips = config.evaluate, load_evaluation_set(config, args.models[0])
    still = partial(repeat_last_frame, context_frames=settings.context_frames)
    columns = {"still frame": evaluate_frames(clips, settings, still)}
    for path, steps in itertools.product(args.models, args.steps):
        start = time.process_time()
        name = f"{path}, {steps} step{'s' if steps > 1 else ''}"
        columns[name] = evaluate(load_world_model(path), clips, replace(settings, num_steps=steps))
        print(f"{name}: {time.process_time() - start:.0f} CPU-seconds", file=sys.stderr)
    print(f"| mean over {len(clips.domains)} domains | {' | '.join(columns)} |")
    print("| --- |" + " --- |" * len(columns))
    for label, measure in MEASURES.items():
        print(f"| {label} | {' | '.join(format_mean(evaluation, measure) for evaluation in columns.values())} |")
    print(f"\n{columns['still frame'].protocol}")


if __name__ == "__main__":
    main()
