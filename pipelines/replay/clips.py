"""The clips of a persistent replay buffer: where they come from, and what they must have in common."""

from collections.abc import Sequence
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.framing import Framing
from driveforge.datasets.latents.cache import latent_key
from driveforge.datasets.scene import Scene
from driveforge.datasets.source import Source
from driveforge.finetune.world_model.families.registry import compute_encoder_digest
from driveforge.pipelines.inputs.sources import is_simulated, training_indices
from driveforge.pipelines.replay.settings import ReplaySettings


def persistent_key(framing: Framing, checkpoint: Path) -> str:
    """Identifies the VAE, frame size, frame rate and length that all clips of a buffer share."""
    fields = {name: getattr(framing, name) for name in ("height", "width", "frame_rate", "num_frames")}
    return latent_key("replay", fields, compute_encoder_digest(checkpoint))


def get_source_id(path: Path, replay: ReplaySettings) -> str:
    """The name under which the buffer records where clips come from."""
    return f"simulated-{replay.seed}" if is_simulated(path) else str(path.resolve())


def select_scenes_to_add(path: Path, source: Source, framing: Framing) -> list[Scene]:
    """The scenes of ``source`` that are not held out. Raises UserError if a scene does not match ``framing``."""
    scenes = list(source.scenes())
    _require_framing(path, scenes, framing)
    return [scenes[n] for n in training_indices(scenes)] if any(scene.split for scene in scenes) else scenes


def _require_framing(path: Path, scenes: Sequence[Scene], framing: Framing) -> None:
    # Only shards can differ: they keep the framing they were exported with, other sources are reframed.
    expected = (framing.num_frames, framing.width, framing.height)
    for scene in scenes:
        found = (scene.num_frames, scene.cameras[0].width, scene.cameras[0].height)
        if found != expected:
            raise UserError(
                f"{path}: clip {scene.clip_id} has {found[0]} frames of {found[1]}x{found[2]}, the settings say "
                f"{expected[0]} of {expected[1]}x{expected[2]}; give data.num_frames={found[0]} data.width={found[1]} "
                f"data.height={found[2]}"
            )
