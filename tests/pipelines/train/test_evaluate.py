"""``driveforge evaluate`` writes the table, the picture and MLflow metrics, and encodes nothing twice."""

import argparse
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.results import read_evaluations
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.tracking.store import find_store
from driveforge.pipelines.train.evaluate import main
from driveforge.pipelines.train.evaluation_clips import load_evaluation_set

SIZES = TinyConfig(latent_channels=4, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)
SMALL = [
    "data.height=32",
    "data.width=48",
    "data.num_frames=9",
    "evaluate.domains=[walkers]",
    "evaluate.clips_per_domain=1",
    "evaluate.num_steps=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "model"
    TinyWorldModel.from_config(SIZES).save_pretrained(folder)
    return folder


def test_a_second_evaluation_reuses_the_encoded_clips(folder: Path, tmp_path: Path) -> None:
    config = compose([*SMALL, f"run_dir={tmp_path / 'run'}"])
    arguments = argparse.Namespace(model=str(folder))
    main(config, arguments)
    found = read_evaluations(tmp_path / "run" / "evaluation.parquet")
    (((step, model), evaluation),) = found.items()
    assert (step, model) == (0, compute_model_digest(folder))
    assert {value.domain for value in evaluation.values} == {"walkers"}
    picture = cv2.imread(str(tmp_path / "run" / "evaluation.png"))
    assert picture is not None and np.ptp(picture) > 100
    client = mlflow.MlflowClient(tracking_uri=find_store(config.run, config.tracking).uri)
    runs = client.search_runs([client.get_experiment_by_name(config.tracking.experiment).experiment_id])
    (run,) = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert run.data.metrics["evaluation/walkers/loss/continuation/0.75-1/all"] > 0

    shards = {path: path.read_bytes() for path in (tmp_path / "evaluation").rglob("*.safetensors")}
    main(config, arguments)
    assert read_evaluations(tmp_path / "run" / "evaluation.parquet") == found, "the same values, once"
    assert {path: path.read_bytes() for path in (tmp_path / "evaluation").rglob("*.safetensors")} == shards


def test_training_clips_are_not_evaluated(tmp_path: Path) -> None:
    config = compose([*SMALL, f"run_dir={tmp_path}", "evaluate.seed=5", "replay.seed=5"])
    with pytest.raises(UserError, match=r"evaluate\.seed=5 equals replay\.seed"):
        load_evaluation_set(config, tmp_path)


def test_missing_footage_is_named_in_the_error(folder: Path, tmp_path: Path) -> None:
    config = compose(
        [*SMALL, f"run_dir={tmp_path / 'run'}", "evaluate.domains=[]", f"evaluate.footage=[{tmp_path / 'no'}]"]
    )
    with pytest.raises(UserError, match=r"evaluate\.footage"):
        main(config, argparse.Namespace(model=str(folder)))
