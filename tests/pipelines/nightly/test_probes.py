"""The held-out clips that the models of a night are evaluated on, and which clips are then not trained on."""

from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.nightly.probes import with_held_out_clips
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.train.cache import cache_replay
from tests.pipelines.nightly.test_new_data import FRAMING, write_clip


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    for name in ("drives", "other"):
        write_clip(tmp_path / name, f"{name}-train", seed=0)
        write_clip(tmp_path / name, f"{name}-held-out", seed=1, split="val")
    return ["data=video", f"data.root={tmp_path / 'drives'}", "evaluate.domains=[]", *FRAMING]


def test_held_out_scenes_of_the_data_and_simulated_replay_domains_are_evaluated(
    words: list[str], tmp_path: Path
) -> None:
    evaluate = with_held_out_clips(compose([*words, "replay.domains=[orbit, walkers]"])).evaluate
    assert (evaluate.footage, evaluate.domains) == ((tmp_path / "drives",), ("orbit", "walkers"))
    simulated = with_held_out_clips(compose(["data.domains=[driving-day]", "replay.domains=[orbit]"])).evaluate
    assert simulated.footage == () and {"driving-day", "orbit"} <= set(simulated.domains)


def test_held_out_scenes_of_replay_footage_are_evaluated_and_not_replayed(words: list[str], tmp_path: Path) -> None:
    config = with_held_out_clips(compose([*words, f"replay.root={tmp_path / 'other'}"]))
    assert config.evaluate.footage == (tmp_path / "drives", tmp_path / "other")
    cache = cache_replay(config.replay, config.data.framing, BASE, tmp_path / "latents", without_held_out=True)
    assert cache.clip_ids == ("other-train-0000",)


def test_replay_footage_without_held_out_scenes_is_reported(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other" / "other-held-out").rename(tmp_path / "elsewhere")
    config = with_held_out_clips(compose([*words, f"replay.root={tmp_path / 'other'}"]))
    assert config.evaluate.footage == (tmp_path / "drives",) and config.evaluate.domains == config.replay.domains
    assert "has no held-out scenes" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["data.root", "replay.root"])
def test_footage_that_is_trained_on_must_have_held_out_scenes(key: str, words: list[str], tmp_path: Path) -> None:
    name = {"data.root": "drives", "replay.root": "other"}[key]
    (tmp_path / name / f"{name}-held-out").rename(tmp_path / "elsewhere")
    footage = [f"replay.root={tmp_path / 'other'}", f"evaluate.footage=[{tmp_path / name}]"]
    with pytest.raises(UserError, match=f"{name} is {key} too, and no scene is held out"):
        with_held_out_clips(compose([*words, *footage]))
