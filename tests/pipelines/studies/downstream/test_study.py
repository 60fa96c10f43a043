"""The downstream study, small: its page, and that an arm is a function of its seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.studies.command import load_settings
from driveforge.pipelines.studies.downstream.arms import Arm
from driveforge.pipelines.studies.downstream.drives import Drive, record, store_clip
from driveforge.pipelines.studies.downstream.evaluation import LANES, OBJECTS, evaluate
from driveforge.pipelines.studies.downstream.generators import (
    GeneratedClip,
    open_checkpoints,
    recording_path,
)
from driveforge.pipelines.studies.downstream.runs import Job, real_frames, run, train
from driveforge.pipelines.studies.downstream.settings import DownstreamStudy
from driveforge.pipelines.studies.downstream.study import study_downstream


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Two recorded drives to train on, one to add, and one to test on."""
    run_dir = tmp_path_factory.mktemp("run")
    settings = replace(load_settings(DownstreamStudy), steps=4, batch_size=4, run_dir=run_dir)
    drives = [Drive(seed=7, number=number) for number in range(4)]
    for drive in drives:
        store_clip(recording_path(run_dir, drive), record(drive), {})
    added = GeneratedClip(path=recording_path(run_dir, drives[2]), drive=drives[2], edit="", state="accepted")
    arm = Arm(what="more real", pool=(added,), count=1, share=0.5)
    return Job(arm=arm, seed=3, real=tuple(drives[:2]), test=(drives[3],), settings=settings)


def test_an_arm_is_a_function_of_its_seed(job: Job) -> None:
    torch.set_num_threads(1)
    networks = [train(one) for one in (job, job, replace(job, seed=4))]
    first, again, other = (torch.cat([weights.flatten() for weights in n.parameters()]) for n in networks)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_run_is_stored_under_all_that_determines_it(job: Job) -> None:
    run(job)
    stored = job.path.read_bytes()
    run(job)
    assert job.path.read_bytes() == stored
    changes = [
        replace(job, seed=4),
        replace(job, arm=replace(job.arm, share=0.1)),
        replace(job, test=job.test + job.real),
        replace(job, settings=replace(job.settings, steps=5)),
    ]
    assert len({one.path for one in (job, *changes)}) == 5


def test_training_makes_a_network_better(job: Job) -> None:
    torch.set_num_threads(1)
    frames = [real_frames(job.settings.run_dir, drive)[::4] for drive in job.real]
    values = []
    for steps in (1, 60):
        settings = replace(job.settings, steps=steps, batch_size=8)
        metrics = evaluate(train(replace(job, settings=settings)), frames, 128.0)
        values.append((metrics["vehicle"][0], metrics[LANES][0]))
        assert {OBJECTS, LANES, "vehicle", "person, 0-15 m"} <= set(metrics)
    assert values[1][0] > values[0][0] + 0.05 and values[1][1] > values[0][1] + 0.05


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no model"):
        open_checkpoints(["base", str(tmp_path)])


def test_models_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(BASE)
    with pytest.raises(UserError, match="two models have the name shipped base"):
        open_checkpoints(["base", "base"])
    with pytest.raises(UserError, match="two models have the digest"):
        open_checkpoints(["base", str(tmp_path / "other")])


@pytest.mark.slow
@pytest.mark.timeout(900)  # several pools of processes, each of which compiles the renderer
def test_the_study_writes_a_page_a_picture_and_all_runs(tmp_path: Path) -> None:
    small = "num_real=2 num_test=2 num_generated=3 num_good=12 false_reject_rate=0.3 steps=2 batch_size=2 num_seeds=2"
    settings = load_settings(DownstreamStudy, [*small.split(), "sweep=[0.9]", f"run_dir={tmp_path / 'run'}"])
    study_downstream(settings, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| real only |" in page and "shipped base" in page and max(map(len, page.splitlines())) < 1000
    assert (tmp_path / "page.png").stat().st_size > 10_000
    rows = pq.read_table(tmp_path / "page.parquet").to_pylist()
    assert {row["arm"] for row in rows} >= {"real only", "more real", "simulator", "all generated"}
    assert {row["seed"] for row in rows} == {0, 1}
    finished = sorted((tmp_path / "run" / "runs").iterdir())
    times = [path.stat().st_mtime_ns for path in finished]
    study_downstream(settings, tmp_path / "page.md")
    assert [path.stat().st_mtime_ns for path in finished] == times, "finished runs are kept"
    assert (tmp_path / "page.md").read_text() == page
    assert np.isfinite([row["average_precision"] for row in rows if row["metric"] == "lanes"]).all()
