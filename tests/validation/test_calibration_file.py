"""Calibrations as files: saved, loaded, and refused if they were changed."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driveforge.datasets.errors import UserError
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from tests.validation.random_measures import draws


def in_threshold(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record | {"thresholds": [*record["thresholds"][:-1], record["thresholds"][-1] | changes]}


def in_tail_model(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record | {"tail_models": [record["tail_models"][0] | changes, *record["tail_models"][1:]]}


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "an infinite threshold": in_threshold(score=math.inf),
    "a threshold that is no number": in_threshold(score=math.nan),
    "a negative threshold": in_threshold(score=-1.0),
    "a higher threshold": in_threshold(score=100.0),
    "a threshold as text": in_threshold(score="3"),
    "a huge threshold": lambda record: json.dumps(record).replace('"score": ', '"score": 1e999, "was": ', 1),
    "no thresholds": lambda record: record | {"thresholds": []},
    "a threshold of no bucket": in_threshold(bucket="some clips"),
    "a wider tail": in_tail_model(mean_excess=50.0),
    "no tail": in_tail_model(mean_excess=0.0),
    "a distant location": in_tail_model(location=1e6),
    "fewer slopes": in_tail_model(slopes=[]),
    "an unknown measure": in_tail_model(measure="nothing"),
    "one tail model less": lambda record: record | {"tail_models": record["tail_models"][1:]},
    "no tail models": lambda record: record | {"tail_models": []},
    "another tracker": lambda record: record | {"tracker": "cotracker"},
    "another rate": lambda record: record | {"false_reject_rate": 0.5},
    "another name": lambda record: record | {"name": "better"},
    "no scale": lambda record: {key: value for key, value in record.items() if key != "covariate_scale"},
    "a scale of no width": lambda record: (
        record | {"covariate_scale": record["covariate_scale"] | {"width": [0.0] * 6}}
    ),
    "another tail": lambda record: (
        record | {"tails": [record["tails"][0] | {"mean_excess": 9.0}, *record["tails"][1:]]}
    ),
    "no tails": lambda record: record | {"tails": []},
    "another version": lambda record: record | {"format": 5},
    "no digest": lambda record: {key: value for key, value in record.items() if key != "sha256"},
    "an unknown key": lambda record: record | {"lenient": True},
    "a list": lambda record: [record],
    "deeply nested": lambda record: "[" * 100_000,
    "half of it": lambda record: json.dumps(record)[:300],
}


@pytest.mark.parametrize("alter", CHANGES.values(), ids=CHANGES)
def test_a_changed_calibration_is_refused_in_one_line(tmp_path: Path, alter: Callable[[dict[str, Any]], Any]) -> None:
    path = tmp_path / "calibration.json"
    calibrate(draws(0, 60), name="sixty").save(path)
    altered = alter(json.loads(path.read_bytes()))
    path.write_text(altered if isinstance(altered, str) else json.dumps(altered))
    with pytest.raises(UserError, match=r"calibration\.json: .*driveforge calibrate") as error:
        Calibration.load(path)
    assert len(str(error.value)) <= 300


def test_a_calibration_is_saved_as_json_and_loaded(tmp_path: Path) -> None:
    calibration = calibrate(draws(0, 60), name="draws through the VAE")
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    (tmp_path / "broken.json").write_text('{"format": 1, "name": "x"}')
    with pytest.raises(UserError, match=r"broken\.json"):
        Calibration.load(tmp_path / "broken.json")
    with pytest.raises(UserError, match="driveforge calibrate"):
        Calibration.load(tmp_path / "absent.json")
