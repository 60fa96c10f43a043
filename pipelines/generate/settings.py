"""Settings of generation."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from driveforge.datasets.settings import Notation, Range
from driveforge.finetune.world_model.sampler_settings import SamplerSettings


def _parse_edits(value: Any, where: str) -> tuple[str, ...]:
    from driveforge.pipelines.generate.edits import parse_edits  # the help needs no numpy

    return parse_edits(value, where)


SourceSplit = Literal["train", "evaluation", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateSettings:
    """Which clips are requested from the model, and how they are sampled."""

    num_clips: Annotated[int, "number of candidates", Range(1)]
    source_split: Annotated[
        SourceSplit,
        "scenes to generate from; clips from val, mini_val and test leak into evaluations of models that train on them",
    ]
    clips_per_unit: Annotated[int, "clips that one worker generates and commits together", Range(1)]
    edits: Annotated[
        tuple[str, ...],
        "scene edits, in turn: names, or records such as {edit: slow, factor: [0.5, 0.7]}; docs/generation-plans.md",
        Notation(_parse_edits),
    ]
    balance: Annotated[
        tuple[Literal["speed", "turn-rate", "agents"], ...],
        "traits of scenes, whose bins get equal numbers of clips; []: every scene in turn",
    ]
    screen_scenes: Annotated[
        bool, "leave out scenes with frames that are near-duplicates of those of another or of an evaluation scene"
    ]
    retries: Annotated[
        tuple[Literal["seed", "steps", "guidance"], ...],
        "what each further attempt at a clip that was not accepted changes: seed; steps: seed, and twice the steps; "
        "guidance: seed, and a stronger guidance scale; []: no further attempts",
    ]
    num_first_frames: Annotated[
        int, "recorded frames that a clip continues; 0: none, clips from layout, pose and caption only", Range(0)
    ]
    sampler: SamplerSettings
    sampler_without_frame: SamplerSettings
    seed: Annotated[int, "seed of the requests and their noise", Range(0)]
