"""The loader of generators: families by the files of a model folder."""

import json
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate import generator
from driveforge.pipelines.generate.generator import DEFAULT_FAMILY, is_model_folder, load_generator, read_family
from driveforge.pipelines.registry.models import BASE, resolve_checkpoint
from tests.pipelines.generators import FakeGenerator


def test_the_shipped_model_is_of_the_default_family() -> None:
    assert read_family(BASE) == DEFAULT_FAMILY
    assert len(load_generator(BASE).digest) == 16


def test_a_diffusers_pipeline_of_another_family_needs_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FakePipeline"}))
    assert resolve_checkpoint(compose([f"model.checkpoint={tmp_path}"])) == tmp_path
    with pytest.raises(UserError, match="a model of the family 'FakePipeline'; known families: driveforge"):
        load_generator(tmp_path)
    monkeypatch.setitem(generator._LOADERS, "FakePipeline", lambda folder, device: FakeGenerator(folder.name))
    assert load_generator(tmp_path).digest == tmp_path.name


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert not is_model_folder(tmp_path)
    with pytest.raises(UserError, match=r"holds no model: world_model\.json or model_index\.json is missing"):
        load_generator(tmp_path)
    with pytest.raises(UserError, match="holds no model; use base or a saved model"):
        resolve_checkpoint(compose([f"model.checkpoint={tmp_path}"]))
