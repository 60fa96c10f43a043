from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from driveforge.datasets.webdataset_shards.format import roundtrip_clip
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.inputs.sources import open_source
from driveforge.pipelines.plots.limits import plot_limits
from driveforge.pipelines.validate.calibrate import (
    KnownGoodClip,
    evenly_spaced,
    limits_table,
    list_known_good,
    list_to_corrupt,
    measure_corrupted,
    measure_known_good,
    power_table,
    simulated_like,
)
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.degradations.wear import wear_known_good
from driveforge.validation.detection_power import count_caught
from driveforge.validation.measures import measure
from tests.pipelines.generators import FakeGenerator
from tests.pipelines.measure_sets import some_measures


@pytest.fixture
def config() -> Config:
    return compose(["data.num_scenes=3", "data.num_frames=5", "data.domains=[driving-day]", "validate.num_clips=2"])


@pytest.mark.parametrize("degrade", [False, True])
def test_clips_are_measured_after_degradation_the_vae_and_h264(config: Config, degrade: bool) -> None:
    found = list_known_good(config.data, replace(config.validate, false_reject_rate=0.9))
    assert not any(item.degrade for item in found), "a simulation is as clean as what is generated from it"
    items = [replace(item, degrade=degrade) for item in found]
    measured = [measures for _, measures in measure_known_good(items, FakeGenerator)]
    source = open_source(config.data)
    scenes = source.scenes()
    loaded = [source.load(scenes[item.number]) for item in items]
    passed = [FakeGenerator().reconstruct(wear_known_good(clip) if degrade else clip) for clip in loaded]
    assert measured == [measure(roundtrip_clip(clip)) for clip in passed]
    assert measured != [measure(clip) for clip in passed]


def test_corrupted_clips_pass_through_the_vae_and_h264_too(config: Config) -> None:
    items = list_known_good(config.data, replace(config.validate, num_clips=3, false_reject_rate=0.9))
    pairs = list_to_corrupt(items, 1)
    assert [(good.number, other.number) for good, other in pairs] == [(0, 1)]
    (measured,) = measure_corrupted(pairs, FakeGenerator)
    assert {"yaw-rate", "boil", "cut"} <= dict(measured).keys() < CORRUPTIONS.keys()
    source = open_source(config.data)
    decoded = FakeGenerator().reconstruct(source.load(source.scenes()[0]))
    assert dict(measured)["boil"] == measure(roundtrip_clip(corrupt(decoded, "boil", 14.0, seed=0)))
    assert list_to_corrupt(items, 0) == []
    assert len(list_to_corrupt(items, 9)) == 3


def test_simulated_clips_are_added_if_there_are_too_few(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(config, validate=replace(config.validate, num_clips=32))
    items = list_known_good(config.data, config.validate)
    assert len(items) == 32
    assert [item.number for item in items if item.data == config.data] == [0, 1, 2]
    assert {item.data.num_frames for item in items} == {5}
    assert "3 recordings of simulated are too few" in capsys.readouterr().out


def test_simulated_clips_have_the_size_of_the_data(config: Config) -> None:
    like = simulated_like(replace(config.data, height=64, width=112), 4)
    assert (like.height, like.width, like.num_scenes) == (64, 112, 4)
    assert KnownGoodClip(data=like, number=0) != KnownGoodClip(data=config.data, number=0)


@pytest.mark.parametrize(("total", "count"), [(100, 7), (5, 5), (3, 10), (1, 1)])
def test_known_good_clips_are_evenly_spaced(total: int, count: int) -> None:
    numbers = evenly_spaced(total, count)
    assert len(set(numbers)) == min(total, count)
    assert numbers[0] == 0
    assert numbers[-1] == (total - 1 if count > 1 else 0)
    assert max(np.diff(numbers), default=0) - min(np.diff(numbers), default=0) <= 1


def test_the_table_shows_every_limit() -> None:
    calibration = calibrate(some_measures(40), name="by hand", false_reject_rate=0.1)
    table = limits_table(calibration)
    assert table.row_count == len(calibration.tail_models) > 0
    assert "by hand" in str(table.title)


def test_the_limits_are_plotted(tmp_path: Path) -> None:
    clip_measures = [replace(measures, source="simulated:a") for measures in some_measures(40)]
    calibration = calibrate(clip_measures, name="by hand", false_reject_rate=0.1)
    plot_limits(tmp_path / "limits.png", calibration)
    noted = cv2.imread(str(tmp_path / "limits.png"))
    assert noted.shape[1] > 1000 and noted.std() > 10
    plot_limits(tmp_path / "plain.png", replace(calibration, note=""))
    assert not np.array_equal(noted, cv2.imread(str(tmp_path / "plain.png")))
    corrupted = [(name, measures) for name in ("yaw-rate", "cut") for measures in some_measures(5, scale=3.0)]
    with_power = replace(calibration, power=count_caught(corrupted, calibration))
    plot_limits(tmp_path / "power.png", with_power)
    assert cv2.imread(str(tmp_path / "power.png")).shape[0] > noted.shape[0] + 50
    assert power_table(with_power).row_count == 2
