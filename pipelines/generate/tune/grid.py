"""The sampler settings to try, and the requests of each: the same scenes, edits and seeds for all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from driveforge.datasets.edits import EDITS
from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.config.build import format_value
from driveforge.pipelines.generate.edits import parse_edit
from driveforge.pipelines.generate.plan.planner import plan_requests
from driveforge.pipelines.generate.plan.recorded import Recorded
from driveforge.pipelines.generate.requests import Request
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.tune.settings import TuneSettings
from driveforge.pipelines.generate.units import WorkUnit

# The sampler to tune, by its name in ``generate``: for clips with a first frame, or without one.
Sampler = Literal["sampler", "sampler_without_frame"]
# The settings that vary.
TUNED = ("num_steps", "strength", "guidance_scale")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One sampler setting and its clips, one work unit for each."""

    settings: SamplerSettings
    units: tuple[WorkUnit, ...]
    is_current: bool


def current_settings(generate: GenerateSettings, sampler: Sampler) -> SamplerSettings:
    return generate.sampler if sampler == "sampler" else generate.sampler_without_frame


def list_settings(tune: TuneSettings, current: SamplerSettings, sampler: Sampler) -> list[SamplerSettings]:
    """The current settings and then the grid, without repetition; raises UserError if a value is not valid.

    Without a first frame sampling starts from pure noise, so ``strength`` does not vary.
    """
    strengths = tune.strength if sampler == "sampler" else (1.0,)
    grid = product(tune.num_steps, strengths, tune.guidance_scale)
    tried = [current]
    for num_steps, strength, scale in grid:
        try:
            tried.append(replace(current, num_steps=num_steps, strength=strength, guidance_scale=scale, sigmas=()))
        except UserError as error:
            raise UserError(f"tune: {error}") from error
    return list(dict.fromkeys(tried))


def list_trials(
    recorded: Recorded, generate: GenerateSettings, tune: TuneSettings, sampler: Sampler, model: str
) -> list[Trial]:
    """Every setting with the same ``tune.num_clips`` requests; ``model`` is the digest of the generator.

    A unit holds one request and is named after it, so that a search with more clips or another grid keeps its clips.
    """
    current = current_settings(generate, sampler)
    edits = _edits(generate.edits, sampler)
    trials = []
    for settings in list_settings(tune, current, sampler):
        # Requests with a first frame take one sampler, those without one the other; all are of one kind here.
        plan = replace(
            generate,
            num_clips=tune.num_clips,
            seed=tune.seed,
            edits=edits,
            sampler=settings,
            sampler_without_frame=settings,
        )
        requests = plan_requests(recorded.scenes, recorded.store, plan, model)
        trials.append(Trial(settings=settings, units=tuple(map(_unit, requests)), is_current=settings == current))
    return trials


def _edits(edits: Sequence[str], sampler: Sampler) -> tuple[str, ...]:
    """Those of ``edits`` whose clips ``sampler`` generates."""
    keeps = sampler == "sampler"
    chosen = tuple(text for text in edits if parse_edit(text).keeps_first_frame == keeps)
    if not chosen:
        examples = ", ".join(name for name, edit in EDITS.items() if edit.keeps_first_frame == keeps)
        raise UserError(f"generate.edits has no edit whose clips generate.{sampler} generates; add one of {examples}")
    return chosen


def _unit(request: Request) -> WorkUnit:
    return WorkUnit(id=request.id, requests=(request,))


def interleave(trials: Sequence[Trial]) -> list[WorkUnit]:
    """All units, clip by clip, so that a change in the load of the machine slows down every setting equally."""
    return [unit for units in zip(*(trial.units for trial in trials), strict=True) for unit in units]


def describe(settings: SamplerSettings) -> str:
    """The tuned settings in words, such as "4 steps from 0.5, guidance 2"."""
    steps = f"noise levels {list(settings.sigmas)}" if settings.sigmas else f"{settings.num_steps} steps"
    return f"{steps} from {settings.strength:g}, guidance {settings.guidance_scale:g}"


def overrides(settings: SamplerSettings, current: SamplerSettings, sampler: Sampler) -> str:
    """The tuned settings as they are written on the command line; ``sigmas`` too if ``current`` has others."""
    changed = (*TUNED, "sigmas") if settings.sigmas != current.sigmas else TUNED
    return " ".join(f"generate.{sampler}.{name}={format_value(getattr(settings, name))}" for name in changed)
