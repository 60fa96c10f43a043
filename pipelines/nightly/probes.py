"""Evaluation of the models of a night on held-out clips of the team's data and of the replay domains."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich import get_console

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Scene
from driveforge.finetune.evaluation.clips import EvaluationSet
from driveforge.finetune.evaluation.evaluate import describe_protocol
from driveforge.finetune.evaluation.results import read_evaluations
from driveforge.finetune.world_model.families.registry import TEXT_STORE, load_world_model
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_message
from driveforge.pipelines.inputs.settings import SimulatedData
from driveforge.pipelines.inputs.sources import HELD_OUT_SPLITS, open_replay
from driveforge.pipelines.tracking.runs import Tracker
from driveforge.pipelines.train.evaluate import evaluate_model, results_table
from driveforge.pipelines.train.evaluation_clips import load_evaluation_set, open_footage


def with_held_out_clips(config: Config) -> Config:
    """``config`` with held-out clips of the driving data and of the replay domains to evaluate on.

    Without ``evaluate.footage``, they are the held-out scenes of ``data.root``, and of ``replay.root`` if it has any.
    Simulated data and ``replay.domains`` are evaluated on clips of another seed. Raises UserError if no scene is held
    out.
    """
    evaluate, data, replay = config.evaluate, config.data, config.replay
    footage, domains = list(evaluate.footage), [*evaluate.domains, *replay.domains]
    if isinstance(data, SimulatedData):
        domains += data.domains
    elif not footage and (root := getattr(data, "root", None)) is not None:
        footage.append(root)
        if replay.root is not None and replay.buffer is None and _has_held_out(config):
            footage.append(replay.root)
    for path in footage:
        open_footage(data, replay, path)
    return replace(
        config,
        evaluate=replace(evaluate, footage=tuple(footage), domains=tuple(dict.fromkeys(domains))),
    )


def _has_held_out(config: Config) -> bool:
    scenes: Sequence[Scene] = list(open_replay(config.replay, config.data.framing).scenes())
    found = any(scene.split in HELD_OUT_SPLITS for scene in scenes)
    if not found:
        print_message(
            f"{config.replay.root} has no held-out scenes ({', '.join(HELD_OUT_SPLITS)}): forgetting is measured on "
            f"simulated domains only ({', '.join(config.replay.domains)})"
        )
    return found


def evaluate_models(config: Config, folders: Sequence[Path], tracker: Tracker) -> None:
    """Evaluate each model, unless the night has its evaluation on the same clips and by the same code."""
    evaluation_set = load_evaluation_set(config, folders[0])
    _require_driving_domain(config, evaluation_set)
    protocol = describe_protocol(evaluation_set, config.evaluate)
    for digest, folder in {compute_model_digest(folder): folder for folder in folders}.items():
        if _is_evaluated(config, digest, protocol):
            continue
        with tracker.child("evaluate") as child:
            model = load_world_model(folder, config.model.dtype, config.run.latents / TEXT_STORE)
            evaluation = evaluate_model(model, folder, evaluation_set, config.evaluate, config.run, child)
        get_console().print(results_table(config.evaluate, evaluation, str(folder)))


def _is_evaluated(config: Config, digest: str, protocol: str) -> bool:
    table = config.run.evaluation
    known = read_evaluations(table) if table.is_file() else {}
    return any(model == digest and found.protocol == protocol for (_, model), found in known.items())


def _require_driving_domain(config: Config, evaluation_set: EvaluationSet) -> None:
    """Raise UserError, before hours of training, if no clip is of a driving domain of the promotion rule."""
    domains = sorted({clip.domain for clip in evaluation_set.clips})
    if not any(config.promote.is_driving(domain) for domain in domains):
        raise UserError(
            f"the held-out clips are of the domains {', '.join(domains)}, and promote.driving_domains="
            f"[{', '.join(config.promote.driving_domains)}] matches none: name the domain of your data there"
        )
