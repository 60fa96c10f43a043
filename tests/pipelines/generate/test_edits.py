"""Edits in settings: names, records and sweeps, in YAML and on the command line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driveforge.datasets.edits import edit_text
from driveforge.datasets.edits.records import InsertAgent, Slow
from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.saved import load_settings, write_settings
from driveforge.pipelines.generate.edits import parse_edit, parse_edits


def edits(value: str) -> tuple[str, ...]:
    return compose([f"generate.edits={value}"]).generate.edits


def test_names_records_and_texts_are_mixed() -> None:
    assert edits("[as-recorded, {edit: slow, factor: 0.7}, brake(deceleration=3)]") == (
        "as-recorded",
        "slow(factor=0.7)",
        "brake(deceleration=3)",
    )
    assert edits("slower") == ("slower",)
    assert edits("[remove-agent, {edit: camera, pitch: 2}]") == ("remove-agent", "camera(height=0, pitch=2)")
    assert edits("[{edit: shift-ego, meters: 1}]") == ("shift-left",), "an edit with a name is that edit"


def test_a_list_of_values_stands_for_one_edit_each() -> None:
    assert edits("[{edit: slow, factor: [0.5, 0.7]}, dusk]") == ("slow(factor=0.5)", "slow(factor=0.7)", "dusk")
    texts = edits("[insert-agent(category=[car, bus], ahead=[10, 20, 30], lateral=3.5)]")
    assert len(set(texts)) == 6 and texts[0] == "insert-agent(category=car, ahead=10, lateral=3.5, speed=0)"


def test_records_of_yaml_are_the_same_as_those_of_the_command_line() -> None:
    listed = ["as-recorded", {"edit": "slow", "factor": [0.5, 0.7]}]
    assert parse_edits(listed, "generate.edits") == edits("[as-recorded, {edit: slow, factor: [0.5, 0.7]}]")


@given(st.floats(0, 1), st.floats(-20, 20), st.sampled_from(["car", "pedestrian"]))
def test_the_text_of_an_edit_is_parsed_back(factor: float, lateral: float, category: str) -> None:
    for edit in (Slow(factor=factor), InsertAgent(category=category, ahead=10.0, lateral=lateral)):  # type: ignore[arg-type]
        assert parse_edit(edit_text(edit)) == edit


def test_saved_edits_are_read_back(tmp_path: Path) -> None:
    config = compose([f"run_dir={tmp_path}", "generate.edits=[{edit: slow, factor: [0.5, 0.25]}, dusk]"])
    write_settings(config)
    assert load_settings(tmp_path, [], [])[0].generate.edits == config.generate.edits


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[slowr]", "generate.edits[0]: no edit 'slowr'; did you mean slower?"),
        ("[{edit: slw, factor: 0.7}]", "generate.edits[0]: no edit 'slw'; did you mean slow?"),
        ("[dusk, {edit: slow, facto: 0.7}]", "no setting generate.edits[1].slow.facto; did you mean "
         "generate.edits[1].slow.factor?"),
        ("[{edit: slow, factor: 7}]", "generate.edits[0].slow.factor must be from 0 to 1, got 7"),
        ("[{edit: slow, factor: fast}]", "generate.edits[0].slow.factor must be a number, got 'fast'"),
        ("[slow]", "generate.edits[0].factor is not set"),
        ("[{factor: 0.7}]", "generate.edits[0]: no edit 'None'; there are agent-brakes, agent-path"),
        ("[{edit: slow, factor: }]", "generate.edits[0].slow.factor must be a number, got None"),
        ("[{edit: weather, to: dsk}]", "generate.edits[0].weather.to=dsk is not one of day, dusk, rain; did you mean "
         "dusk?"),
        ("[slow(0.7)]", "generate.edits[0] must be written like slow(PARAMETER=VALUE), got 'slow(0.7)'"),
        ("[{edit: [slow}]", "generate.edits[0] must be a record such as {edit: slow, factor: 0.7}"),
        ("[{edit: shift-ego, meters: 0}]", "shift-ego changes nothing; use as-recorded"),
    ],
)  # fmt: skip
def test_a_wrong_edit_is_named(value: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        edits(value)
    assert str(caught.value).startswith(message)
