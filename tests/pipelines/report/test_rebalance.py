"""Edits in proportion to their yields."""

from pathlib import Path

from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.report.rebalance import rebalanced_edits, settings_file
from driveforge.pipelines.report.yields import Yield


def edit(name: str, mean: float) -> Yield:
    return Yield(
        condition="edit", value=name, num_clips=9, num_accepted=3, mean=mean, low=0.0, high=1.0,
        seconds_per_accepted=1.0, gpu_seconds_per_accepted=0.0,
    )  # fmt: skip


YIELDS = [edit("as-recorded", 0.6), edit("slow(factor=0.7)", 0.3), edit("dusk", 0.1)]


def test_edits_take_turns_and_are_repeated_as_the_worked_line_says() -> None:
    a, b, c = (row.value for row in YIELDS)
    assert rebalanced_edits(YIELDS) == [a, b, c, a, b, a, a]
    assert rebalanced_edits(YIELDS[:1]) == []


def test_the_file_is_a_file_of_settings(tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "edits.yaml"
    path.write_bytes(settings_file(rebalanced_edits(YIELDS)))
    edits = yaml.safe_load(path.read_text())["generate"]["edits"]
    assert compose([f"generate.edits=[{', '.join(edits)}]"]).generate.edits == tuple(rebalanced_edits(YIELDS))
