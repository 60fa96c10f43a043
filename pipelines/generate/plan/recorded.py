"""The recorded scenes that a run generates from, and the folder where their inputs are stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.scene import Scene
from driveforge.pipelines.console import print_message
from driveforge.pipelines.generate.edits import parse_edit
from driveforge.pipelines.generate.plan.screening import SceneScreening
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.inputs.sources import generation_indices, is_held_out, open_source


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """The ``scenes`` to generate from, which are those of ``source_split`` among ``all_scenes``."""

    scenes: Sequence[Scene]
    all_scenes: Sequence[Scene]
    screening: SceneScreening

    @property
    def store(self) -> Callable[[Scene], str]:
        """Stores the first frames of a scene, once, and returns their name."""
        return self.screening.store_first_frames


def open_recorded(data: Data, root: Path, settings: GenerateSettings) -> Recorded:
    """The scenes of ``data`` to generate from; their first frames are stored under ``root``."""
    source = open_source(data)
    scenes = list(source.scenes())
    chosen = [scenes[number] for number in generation_indices(scenes, settings.source_split)]
    splits = ", ".join(sorted({scene.split or "none" for scene in chosen}))
    print_message(f"generating from {len(chosen)} of {len(scenes)} scenes (split: {splits})")
    # Clips of evaluation scenes are marked; only others can leak.
    held_out = [scene for scene in scenes if is_held_out(scene)] if settings.source_split == "train" else []
    reads_frames = settings.num_first_frames > 0 and any(parse_edit(edit).keeps_first_frame for edit in settings.edits)
    screening = SceneScreening(source, root, settings, held_out, is_on=settings.screen_scenes and reads_frames)
    return Recorded(scenes=chosen, all_scenes=scenes, screening=screening)
