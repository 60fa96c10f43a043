"""The arms of the downstream study."""

from dataclasses import replace
from pathlib import Path

from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.downstream.arms import Arm, list_arms
from driveforge.pipelines.studies.downstream.drives import Drive
from driveforge.pipelines.studies.downstream.generators import Checkpoint, GeneratedClip
from driveforge.pipelines.studies.downstream.runs import draw
from driveforge.pipelines.studies.downstream.settings import DownstreamStudy

SETTINGS = replace(load_settings(DownstreamStudy), num_real=4, num_generated=10, sweep=(0.1, 0.9))


def clips(states: str) -> list[GeneratedClip]:
    """A clip for each letter: a is accepted."""
    return [
        GeneratedClip(
            path=Path(f"{number}.tar"),
            drive=Drive(seed=0, number=number),
            edit="slower",
            state="accepted" if letter == "a" else "rejected",
        )
        for number, letter in enumerate(states)
    ]


def arms_of(*generators: str) -> list[Arm]:
    made = [
        (Checkpoint(name=f"model {n}", folder=Path("model"), digest=str(n)), clips(states))
        for n, states in enumerate(generators)
    ]
    return list_arms(SETTINGS, clips("a" * 10), clips("a" * 10), made)


def test_every_comparison_has_an_equal_number_of_clips() -> None:
    arms = arms_of("aaaaaarrrr", "arararaaaa")
    equal = [(arm.what, arm.generator, arm.count) for arm in arms if arm.equal]
    assert equal == [
        ("real only", "", 0),
        ("more real", "", 4),
        ("simulator", "", 4),
        ("all generated", "model 0", 4),
        ("accepted", "model 0", 4),
        ("rejected", "model 0", 4),
        ("all generated", "model 1", 4),
        ("accepted", "model 1", 4),
        ("rejected", "model 1", 3),
    ]


def test_all_clips_and_the_sweep_are_of_the_first_generator() -> None:
    others = [(arm.title, arm.count, arm.share) for arm in arms_of("aaaaaarrrr", "aaaaaaaaaa") if not arm.equal]
    assert others == [
        ("real + more real", 10, 0.5),
        ("real + simulator", 10, 0.5),
        ("real + all generated of model 0", 10, 0.5),
        ("real + accepted of model 0", 6, 0.5),
        ("real + accepted of model 0", 6, 0.1),
        ("real + accepted of model 0", 6, 0.9),
        ("real + all generated of model 0", 10, 0.1),
        ("real + all generated of model 0", 10, 0.9),
    ]


def test_few_accepted_clips_are_compared_with_as_few() -> None:
    arms = arms_of("aarrrrrrrr")
    assert {arm.count for arm in arms if arm.generator and arm.equal} == {2}


def test_without_accepted_clips_there_is_no_such_arm() -> None:
    assert "accepted" not in {arm.what for arm in arms_of("rrrrrrrrrr")}


def test_seeds_draw_other_clips_of_the_pool() -> None:
    arm = next(arm for arm in arms_of("aaaaaarrrr") if arm.what == "accepted" and arm.equal)
    drawn = [tuple(draw(arm, seed)) for seed in range(5)]
    assert all(len(set(some)) == 4 and set(some) <= set(arm.pool) for some in drawn)
    assert len(set(drawn)) > 1 and drawn[0] == tuple(draw(arm, 0))
