"""The arms of the study: which clips a network trains on besides the real ones, how many, and how often."""

from collections.abc import Sequence
from dataclasses import dataclass

from driveforge.pipelines.studies.downstream.generators import ACCEPTED, SIMULATOR, Checkpoint, GeneratedClip
from driveforge.pipelines.studies.downstream.settings import DownstreamStudy

REAL, MORE_REAL, ALL_GENERATED, REJECTED = "real only", "more real", "all generated", "rejected"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """``pool`` is what is added to the real clips: ``count`` of its clips, drawn anew for every seed.

    ``generator`` is the name of the checkpoint, or "" if the arm has none. ``equal``: the arm is compared at an equal
    number of clips; others have all clips that there are.
    """

    what: str
    generator: str = ""
    pool: tuple[GeneratedClip, ...] = ()
    count: int = 0
    share: float = 0.0
    equal: bool = True

    @property
    def title(self) -> str:
        if not self.count:
            return self.what
        return f"real + {self.what}{f' of {self.generator}' if self.generator else ''}"


def list_arms(
    settings: DownstreamStudy,
    more_real: Sequence[GeneratedClip],
    simulated: Sequence[GeneratedClip],
    generated: Sequence[tuple[Checkpoint, Sequence[GeneratedClip]]],
) -> list[Arm]:
    """All arms; those with an equal number of clips have as many as there are real ones, or all if these are fewer.

    Arms with all clips, and sweeps of the share, are those of the first generator.
    """
    arms = [Arm(what=REAL)]
    for what, pool in ((MORE_REAL, more_real), (SIMULATOR, simulated)):
        arms += _main_arms(settings, what, "", pool, settings.num_real)
    for place, (checkpoint, clips) in enumerate(generated):
        pools = _pools(clips)
        equal = min(settings.num_real, len(pools[ACCEPTED]) or settings.num_real)
        for what, pool in pools.items():
            main = _main_arms(settings, what, checkpoint.name, pool, equal)
            arms += main if place == 0 and what != REJECTED else main[:1]
    return [*arms, *_sweep_arms(settings, *generated[0])]


def _sweep_arms(settings: DownstreamStudy, checkpoint: Checkpoint, clips: Sequence[GeneratedClip]) -> list[Arm]:
    """Other shares of all accepted clips and of all clips."""
    pools = _pools(clips)
    return [
        Arm(what=what, generator=checkpoint.name, pool=tuple(pool), count=len(pool), share=share, equal=False)
        for what in (ACCEPTED, ALL_GENERATED)
        if (pool := pools[what])
        for share in settings.sweep
    ]


def _pools(clips: Sequence[GeneratedClip]) -> dict[str, list[GeneratedClip]]:
    return {
        ALL_GENERATED: list(clips),
        ACCEPTED: [clip for clip in clips if clip.state == ACCEPTED],
        REJECTED: [clip for clip in clips if clip.state != ACCEPTED],
    }


def _main_arms(
    settings: DownstreamStudy, what: str, generator: str, pool: Sequence[GeneratedClip], equal: int
) -> list[Arm]:
    """The arm with an equal number of clips, and the one with all if there are more; none without clips."""
    sizes = [(min(equal, len(pool)), True), (len(pool), False)][: 2 if len(pool) > equal else 1]
    return [
        Arm(what=what, generator=generator, pool=tuple(pool), count=count, share=settings.share, equal=is_equal)
        for count, is_equal in sizes
        if count
    ]
