"""The loader of generators: families by the files of a model folder."""

import json
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.families.registry import is_model_folder, recognize_family
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.generator import load_generator
from driveforge.pipelines.registry.models import BASE, resolve_checkpoint


def test_the_shipped_model_is_of_the_tiny_family() -> None:
    assert recognize_family(BASE) == "tiny"
    assert len(load_generator(BASE).digest) == 16


def test_a_pipeline_of_an_unknown_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FakePipeline"}))
    with pytest.raises(UserError, match="holds a FakePipeline; supported pipelines: WanPipeline"):
        load_generator(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert not is_model_folder(tmp_path)
    with pytest.raises(UserError, match=r"holds no model: world_model\.json or model_index\.json is missing"):
        load_generator(tmp_path)
    with pytest.raises(UserError, match="holds no model; use base or a saved model"):
        resolve_checkpoint(compose([f"model.checkpoint={tmp_path}"]))
