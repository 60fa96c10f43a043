"""`driveforge finetune` under torchrun: two ranks share the caches, train together and write one model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from driveforge.datasets.files.lock import file_lock
from driveforge.finetune.world_model.families.registry import load_world_model

REPOSITORY = Path(__file__).parents[3]
SETTINGS = [
    "data=simulated",
    "data.num_scenes=4",
    "data.height=48",
    "data.width=64",
    "data.num_frames=5",
    "data.stride=5",
    "replay.num_scenes=4",
    "finetune.steps=3",
    "finetune.batch_size=2",
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_write_one_model_and_one_mlflow_run(tmp_path: Path, parallel: str) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "driveforge.pipelines.cli", "finetune", *SETTINGS, f"run_dir={tmp_path / 'run'}"]
    command.append(f"finetune.parallel={parallel}")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("fine-tuned model") == 1
    lineage = json.loads((tmp_path / "run" / "model" / "lineage.json").read_text())
    assert sum(lineage["sample_counts"].values()) == 3 * 2, "the batch is split over both ranks"
    load_world_model(tmp_path / "run" / "model")
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert (len(runs), len(children)) == (2, 1), "the run of the folder, and its stage"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_torchrun_in_a_run_folder_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "driveforge.pipelines.cli", "finetune", *SETTINGS, f"run_dir={run_dir}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with file_lock(run_dir / ".lock"):
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.count(f"holds {run_dir / '.lock'}; run this again when it has ended") == 1
    assert not any((run_dir / name).exists() for name in ("settings.yaml", "model", "finetune", "mlflow.json"))
