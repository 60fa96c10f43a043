"""Where the clips of a standing replay buffer come from, and what they must share to lie in one."""

from collections.abc import Sequence
from dataclasses import replace
from glob import escape
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.folder_source import VideoFolderSource
from driveforge.datasets.framing import Framing
from driveforge.datasets.latents.cache import latent_key
from driveforge.datasets.scene import Scene
from driveforge.datasets.source import Source
from driveforge.datasets.webdataset_shards.source import ShardSource, has_shards
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.inputs.settings import Data, NuScenesData
from driveforge.pipelines.inputs.sources import open_replay, open_source, training_indices
from driveforge.pipelines.replay.settings import ReplaySettings


def persistent_key(framing: Framing, checkpoint: Path) -> str:
    """Names the codec, size, rate and length that all clips of a buffer share."""
    fields = {name: getattr(framing, name) for name in ("height", "width", "frame_rate", "num_frames")}
    return latent_key("replay", fields, compute_model_digest(checkpoint / "vae"))


def is_simulated(path: Path) -> bool:
    return str(path) == "simulated" and not path.exists()


def get_source_id(path: Path, replay: ReplaySettings) -> str:
    """Where clips are from, as the buffer remembers it."""
    return f"simulated-{replay.seed}" if is_simulated(path) else str(path.resolve())


def open_path(path: Path, data: Data, replay: ReplaySettings, framing: Framing) -> Source:
    """The clips at ``path``: a nuScenes root (as ``data`` says), shards, videos, or the domains that are simulated."""
    if is_simulated(path):
        return open_replay(replace(replay, root=None), framing)
    if isinstance(data, NuScenesData) and (path / data.version).is_dir():
        return open_source(replace(data, root=path))
    if has_shards(path):
        return ShardSource(path)
    if path.is_file():
        return VideoFolderSource(path.parent, framing, pattern=escape(path.name))
    return VideoFolderSource(path, framing, None)


def select_scenes_to_add(path: Path, source: Source, framing: Framing) -> list[Scene]:
    """Those of ``source`` that a fine-tune may see; a UserError where they are not of the framing."""
    scenes = list(source.scenes())
    _require_framing(path, scenes, framing)
    return [scenes[n] for n in training_indices(scenes)] if any(scene.split for scene in scenes) else scenes


def _require_framing(path: Path, scenes: Sequence[Scene], framing: Framing) -> None:
    # Shards come as they were exported; all others are brought to the framing.
    expected = (framing.num_frames, framing.width, framing.height)
    for scene in scenes:
        found = (scene.num_frames, scene.cameras[0].width, scene.cameras[0].height)
        if found != expected:
            raise UserError(
                f"{path}: clip {scene.clip_id} has {found[0]} frames of {found[1]}x{found[2]}, the settings say "
                f"{expected[0]} of {expected[1]}x{expected[2]}; give data.num_frames={found[0]} data.width={found[1]} "
                f"data.height={found[2]}"
            )
