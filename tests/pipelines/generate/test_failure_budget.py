"""The failure budget: how many units may fail before the exit status is 1 and the run ends early."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from driveforge.datasets.files.json_record import read_record
from driveforge.datasets.scene import Clip, Scene
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.generate.command import generate, print_failures
from driveforge.pipelines.generate.commit import CommitLog, QuarantineRecord
from driveforge.pipelines.generate.requests import request_from_json
from tests.pipelines.generators import FakeGenerator
from tests.pipelines.small_plans import NUM_UNITS, executor, generate_small, small_plan

SETTINGS = replace(executor(), workers=1, max_attempts=1)


class OnePoisoned(FakeGenerator):
    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        if "scene-1" in scene.clip_id and "dusk" in scene.clip_id:
            raise RuntimeError(f"cannot make {scene.clip_id}")
        return super().generate(scene, first_frames, seed=seed, settings=settings)


class AllPoisoned(FakeGenerator):
    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: SamplerSettings
    ) -> Clip:
        raise RuntimeError(f"cannot make {scene.clip_id}")


@pytest.mark.parametrize(("budget", "is_exceeded"), [(0.2, False), (0.1, True)])
def test_a_poisoned_unit_is_quarantined_with_its_traceback_and_requests(
    tmp_path: Path, budget: float, is_exceeded: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = small_plan(tmp_path)
    summary = generate(tmp_path, plan, OnePoisoned, replace(SETTINGS, failure_budget=budget))
    (unit_id,) = summary.failed
    assert summary.exceeds_budget == is_exceeded
    assert summary.num_committed == 2 * (NUM_UNITS - 1), "one failure does not end the run early"
    record = read_record(tmp_path / "_quarantine" / f"{unit_id}.json", QuarantineRecord)
    assert record.reason.startswith("Traceback") and 'raise RuntimeError(f"cannot make' in record.reason
    requests = next(unit.requests for unit in plan.units if unit.id == unit_id)
    assert [request_from_json(request).id for request in record.requests] == [request.id for request in requests]
    print_failures(summary, tmp_path)
    printed = capsys.readouterr().out
    assert f"{unit_id} failed: RuntimeError: cannot make" in printed
    assert f"{'more' if is_exceeded else 'not more'} than executor.failure_budget" in printed
    assert f"{tmp_path / '_quarantine'}; run the same command again to try them again" in printed
    assert generate_small(tmp_path).num_made == 2 and CommitLog(tmp_path).read_quarantine() == {}


def test_a_run_ends_early_if_its_budget_is_exceeded(tmp_path: Path) -> None:
    summary = generate(tmp_path, small_plan(tmp_path), AllPoisoned, replace(SETTINGS, failure_budget=0.02))
    assert summary.exceeds_budget and len(summary.failed) == 3 < NUM_UNITS
    allowed = generate(tmp_path, small_plan(tmp_path), AllPoisoned, replace(SETTINGS, failure_budget=1.0))
    assert not allowed.exceeds_budget and len(allowed.failed) == NUM_UNITS


def test_records_of_older_versions_are_read(tmp_path: Path) -> None:
    log = CommitLog(tmp_path)
    log.store.write("_quarantine/u.json", b'{"unit": "u", "reason": "died"}')
    assert log.read_quarantine() == {"u": "died"}
