"""The sources of clips that a configuration names."""

import math
from collections.abc import Sequence

from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.scene import Scene
from driveforge.datasets.source import Source
from driveforge.pipelines.inputs.settings import Data, NuScenesData, ShardData, SimulatedData, VideoData
from driveforge.pipelines.replay.settings import ReplaySettings
from driveforge.pipelines.train.settings import EvaluateSettings, PretrainSettings

# The splits that no fine-tune may see, so that what is generated from them is generated from unseen scenes.
HELD_OUT_SPLITS = ("val", "mini_val", "test")


def training_indices(scenes: Sequence[Scene]) -> list[int]:
    """Numbers of the scenes to train on: those not held out, or all where every one is."""
    return [n for n, scene in enumerate(scenes) if scene.split not in HELD_OUT_SPLITS] or list(range(len(scenes)))


def generation_indices(scenes: Sequence[Scene]) -> list[int]:
    """Numbers of the scenes to generate from: those held out, or all where none is."""
    return [n for n, scene in enumerate(scenes) if scene.split in HELD_OUT_SPLITS] or list(range(len(scenes)))


def open_source(data: Data) -> Source:
    """The source behind a ``data`` group; UserError where its root holds nothing of the kind."""
    match data:
        case SimulatedData():
            return _open_simulated(data.num_scenes, data.domains, data.seed, data.framing)
        case NuScenesData():
            from driveforge.datasets.nuscenes.source import NuScenesSource

            return NuScenesSource(
                data.root,
                data.version,
                data.framing,
                split=data.split,
                cameras=data.cameras,
                sweeps=data.sweeps,
                pad_short_scenes=data.pad_short_scenes,
            )
        case VideoData():
            from driveforge.datasets.folder_source import VideoFolderSource

            return VideoFolderSource(data.root, data.framing, data.domain)
        case ShardData():
            from driveforge.datasets.webdataset_shards.source import ShardSource

            return ShardSource(data.root)


def open_replay(replay: ReplaySettings, framing: Framing) -> Source:
    """The clips of other domains: a folder of videos, or the procedural domains where none is named."""
    if replay.root is not None:
        from driveforge.datasets.folder_source import VideoFolderSource

        return VideoFolderSource(replay.root, framing, None)
    return _open_simulated(replay.num_scenes, replay.domains, replay.seed, framing)


def open_pretraining(pretrain: PretrainSettings, framing: Framing) -> Source:
    """The procedural clips that the base checkpoint is made from, through many cameras, since real rigs differ."""
    return _open_simulated(pretrain.num_scenes, pretrain.domains, pretrain.seed, framing, varied_cameras=True)


def open_evaluation(evaluate: EvaluateSettings, framing: Framing) -> Source:
    """The procedural clips that models are evaluated with; their seed is no other's."""
    return _open_simulated(evaluate.clips_per_domain * len(evaluate.domains), evaluate.domains, evaluate.seed, framing)


def _open_simulated(
    num_scenes: int, domains: Sequence[str], seed: int, framing: Framing, *, varied_cameras: bool = False
) -> Source:
    """``num_scenes`` clips in equal parts over ``domains``, a few more where they do not divide evenly."""
    from driveforge.datasets.simulated_source import SimulatedSource, SimulationConfig

    if not domains:
        raise UserError("domains names no domain to simulate")
    config = SimulationConfig(
        seed=seed,
        domains=tuple(domains),
        num_scenes=math.ceil(num_scenes / len(domains)),
        height=framing.height,
        width=framing.width,
        frame_rate=framing.frame_rate,
        num_frames=framing.num_frames,
        varied_cameras=varied_cameras,
    )
    return SimulatedSource(config)
