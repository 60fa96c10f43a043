"""The sources of clips that a configuration names."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.scene import Scene
from driveforge.datasets.source import Source
from driveforge.pipelines.console import print_result
from driveforge.pipelines.generate.settings import SourceSplit
from driveforge.pipelines.inputs.settings import Data, find_kind
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.train.settings import EvaluateSettings, PretrainSettings

if TYPE_CHECKING:
    from driveforge.datasets.simulated_source import SimulationConfig

# Splits for evaluation only: they are never trained on.
HELD_OUT_SPLITS = ("val", "mini_val", "test")


def training_indices(scenes: Sequence[Scene]) -> list[int]:
    """Indices of the scenes to train on: those that are not held out, or all if every scene is held out."""
    return [n for n, scene in enumerate(scenes) if scene.split not in HELD_OUT_SPLITS] or list(range(len(scenes)))


def evaluation_indices(scenes: Sequence[Scene]) -> list[int]:
    """Indices of the scenes to evaluate on: those that are held out, or all if none is held out."""
    return [n for n, scene in enumerate(scenes) if scene.split in HELD_OUT_SPLITS] or list(range(len(scenes)))


def generation_indices(scenes: Sequence[Scene], source_split: SourceSplit) -> list[int]:
    """Indices of the scenes to generate from; raises UserError if ``source_split`` selects none."""
    chosen = [n for n, scene in enumerate(scenes) if _is_selected(scene, source_split)]
    if scenes and not chosen:
        splits = ", ".join(sorted({scene.split or "none" for scene in scenes}))
        raise UserError(
            f"generate.source_split={source_split} selects none of {len(scenes)} scenes, whose split is {splits}; "
            "generate.source_split=all selects them all"
        )
    return chosen


def is_held_out(scene: Scene) -> bool:
    return scene.split in HELD_OUT_SPLITS


def _is_selected(scene: Scene, source_split: SourceSplit) -> bool:
    return source_split == "all" or is_held_out(scene) == (source_split == "evaluation")


def open_source(data: Data) -> Source:
    """The source of a ``data`` group. Raises UserError if its root does not hold this kind of data."""
    return data.open()


def open_path(path: Path, data: Data, replay: ReplaySettings) -> Source:
    """The clips at ``path`` with the framing of ``data``, or the domains of ``replay`` if ``path`` is "simulated"."""
    if is_simulated(path):
        return open_replay(replace(replay, root=None), data.framing)
    return find_kind(path).at(path, data).open()


def is_simulated(path: Path) -> bool:
    return str(path) == "simulated" and not path.exists()


def open_replay(replay: ReplaySettings, framing: Framing) -> Source:
    """The clips of other domains: a folder of videos, or procedural domains if no folder is set."""
    if replay.root is not None:
        from driveforge.datasets.folder_source import VideoFolderSource

        return VideoFolderSource(replay.root, framing, None)
    return open_simulated(replay.num_scenes, replay.domains, replay.seed, framing)


def open_pretraining(pretrain: PretrainSettings, framing: Framing) -> Source:
    """The procedural clips to pretrain the base model on."""
    from driveforge.datasets.simulated_source import SimulatedSource

    return SimulatedSource(simulate_pretraining(pretrain, framing))


def simulate_pretraining(pretrain: PretrainSettings, framing: Framing) -> "SimulationConfig":
    """The simulation to pretrain the base model on, with varied cameras, since real camera rigs differ."""
    simulation = _configure_simulation(pretrain.num_scenes, pretrain.domains, pretrain.seed, framing)
    return replace(simulation, varied_cameras=True, close_share=pretrain.close_share)


def open_evaluation(evaluate: EvaluateSettings, framing: Framing) -> Source:
    """The procedural clips to evaluate models on; no other clips use their seed."""
    return open_simulated(evaluate.clips_per_domain * len(evaluate.domains), evaluate.domains, evaluate.seed, framing)


def open_simulated(num_scenes: int, domains: Sequence[str], seed: int, framing: Framing) -> Source:
    """At least ``num_scenes`` clips, the same number for each of ``domains``."""
    from driveforge.datasets.simulated_source import SimulatedSource

    return SimulatedSource(_configure_simulation(num_scenes, domains, seed, framing))


def _configure_simulation(num_scenes: int, domains: Sequence[str], seed: int, framing: Framing) -> "SimulationConfig":
    from driveforge.datasets.simulated_source import SimulationConfig

    if not domains:
        raise UserError("domains is empty; name a domain to simulate")
    return SimulationConfig(
        seed=seed,
        domains=tuple(domains),
        num_scenes=math.ceil(num_scenes / len(domains)),
        height=framing.height,
        width=framing.width,
        frame_rate=framing.frame_rate,
        num_frames=framing.num_frames,
    )


def show_skipped(source: Source) -> None:
    """Print which parts of a source yield no clip, and why."""
    for line in source.skipped:
        print_result(line)
