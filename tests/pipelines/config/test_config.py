"""Composition of the configuration, and its error messages."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.errors import UserError
from driveforge.datasets.settings import Range
from driveforge.pipelines.config.build import build, format_value
from driveforge.pipelines.config.compose import compose, group_choices
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.inputs.settings import NuScenesData, SimulatedData

CHOICES = [(group, choice) for group, choices in group_choices().items() for choice in choices]


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=[f"{group}={choice}" for group, choice in CHOICES])
def test_every_file_of_conf_composes(group: str, choice: str) -> None:
    needed = {"data": ["data.root=/data"], "model": ["model.checkpoint=/model"]}
    has_defaults = group not in needed or choice in ("simulated", "tiny")
    config = compose([f"{group}={choice}", *([] if has_defaults else needed[group])])
    assert isinstance(config, Config)
    section = getattr(config, group)
    assert group not in ("data", "executor", "model") or section.name == choice


def test_every_group_has_its_folder() -> None:
    assert set(group_choices()) == {field.name for field in fields(Config)} - {"run_dir"}


def test_values_override_the_chosen_group_in_any_order() -> None:
    config = compose(
        ["data.root=/a folder/(b), c", "data.cameras=[CAM_FRONT, CAM_BACK]", "data=nuscenes", "replay.share=0"]
    )
    assert isinstance(config.data, NuScenesData)
    assert config.data.root == Path("/a folder/(b), c")
    assert config.data.cameras == ("CAM_FRONT", "CAM_BACK")
    assert config.replay.share == 0.0


def test_a_group_file_changes_only_its_own_settings() -> None:
    lora, full = compose().finetune, compose(["finetune=full"]).finetune
    changed = {field.name for field in fields(lora) if getattr(lora, field.name) != getattr(full, field.name)}
    assert "adapter" in changed and "steps" not in changed


def test_text_is_parsed_as_the_type_of_its_field() -> None:
    config = compose(["finetune.steps=3", "data.domains=orbit", "replay.root=~/clips"])
    assert config.finetune.steps == 3 and isinstance(config.finetune.steps, int)
    assert isinstance(config.data, SimulatedData) and config.data.domains == ("orbit",)
    assert config.replay.root == Path.home() / "clips"
    assert compose(["replay.root=null"]).replay.root is None


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("finetune.step=3", "no setting finetune.step; did you mean finetune.steps?"),
        ("fintune.steps=3", "no setting fintune.steps; did you mean finetune?"),
        ("data=nuscene", "data=nuscene is not a choice; did you mean data=nuscenes?"),
        (
            "data=_framing",
            "data=_framing is not a choice; "
            "there are data=clipgt, data=nuscenes, data=shards, data=simulated, data=video",
        ),
        ("data.name=video", "data.name is set by the group: write data=video"),
        ("data.seed.x=1", "data.seed is a single value, it has no x"),
        (
            "finetune.strategy=repaly",
            "finetune.strategy=repaly is not one of naive, replay, replay+distill, der, l2sp, ewc, ewc-rank1, joint, "
            "interpolate; did you mean replay?",
        ),
        ("finetune.strategy_weight=-1", "finetune.strategy_weight must be 0 or more, got -1"),
        ("finetune.steps=many", "finetune.steps must be a whole number, got 'many'"),
        ("finetune.steps=1.5", "finetune.steps must be a whole number, got '1.5'"),
        ("finetune.steps=0", "finetune.steps must be 1 or more, got 0"),
        ("replay.share=1.5", "replay.share must be from 0 to 1, got 1.5"),
        ("replay.share=nan", "replay.share must be a number, got 'nan'"),
        ("run_dir=", "run_dir must be a path, got ''"),
        ("generate.edits=[a,,b]", "generate.edits[1] must be text, got ''"),
        ("export.name=null", "export.name must be text, got 'null'"),
        ("generate.edits=[a", "generate.edits must be a list such as [a, b], got '[a'"),
        ("data=nuscenes", "data.root must be given, for example data.root=VALUE"),
        ("steps", "'steps' is not a setting; write KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_one_line_with_a_suggestion(override: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        compose([override])
    assert str(caught.value) == line


@dataclass(frozen=True, kw_only=True)
class _Inner:
    ratio: Annotated[float, "a share", Range(0, 1)]
    mode: Literal["fast", "slow"]


@dataclass(frozen=True, kw_only=True)
class _Outer:
    inner: _Inner
    names: tuple[str, ...]
    flag: bool
    count: int | None


def test_build_supports_nested_records() -> None:
    given = {"inner": {"ratio": "0.5", "mode": "fast"}, "names": ["a", 1], "flag": "True", "count": None}
    assert build(_Outer, given) == _Outer(inner=_Inner(ratio=0.5, mode="fast"), names=("a", "1"), flag=True, count=None)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"inner": 3}, "inner is a group of settings"),
        ({"flag": "yes"}, "flag must be true or false, got 'yes'"),
        ({"count": True}, "count must be a whole number, got True"),
        ({"count": [1]}, "count must be a whole number"),
        ({"names": 3}, "names must be a list"),
        ({"other": 1}, "no setting other"),
        ({"inner": {"ratio": 0.5}}, "inner.mode is not set"),
    ],
)
def test_build_names_the_wrong_key(change: dict[str, Any], line: str) -> None:
    good = {"inner": {"ratio": 0.5, "mode": "fast"}, "names": [], "flag": False, "count": 1}
    with pytest.raises(UserError, match=line):
        build(_Outer, good | change)


@given(st.integers(), st.booleans(), st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), max_size=4))
def test_formatted_values_are_parsed_back(count: int, flag: bool, names: list[str]) -> None:
    expected = _Outer(inner=_Inner(ratio=0.25, mode="slow"), names=tuple(names), flag=flag, count=count)
    mapping = {"names": format_value(expected.names), "flag": format_value(flag), "count": format_value(count)}
    assert build(_Outer, mapping | {"inner": {"ratio": format_value(0.25), "mode": "slow"}}) == expected
