"""The family of a model is recognized from its folder, and sets the sampler."""

from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.registry.models import BASE, resolve_checkpoint
from tests.finetune.released_checkpoints import edit_index, make_cosmos2, make_wan


@pytest.mark.parametrize(
    ("kind", "family", "steps"), [("i2v", "wan", 50), ("ti2v", "wan22", 50), ("t2v-experts", "wan22", 50)]
)
def test_a_folder_of_a_pipeline_chooses_its_family(kind: str, family: str, steps: int, tmp_path: Path) -> None:
    config = compose([f"model.checkpoint={make_wan(tmp_path / kind, kind)}", "generate.sampler.guidance_scale=3"])
    assert (config.model.name, config.model.dtype) == (family, "bfloat16")
    assert (config.generate.sampler.num_steps, config.generate.sampler.guidance_scale) == (steps, 3)
    assert resolve_checkpoint(config) == tmp_path / kind


def test_cosmos_is_recognized_too(tmp_path: Path) -> None:
    config = compose([f"model.checkpoint={make_cosmos2(tmp_path / 'model')}"])
    assert (config.model.name, config.generate.sampler.num_steps) == ("cosmos2", 35)


def test_a_folder_of_another_family_is_refused(tmp_path: Path) -> None:
    folder = make_wan(tmp_path / "wan", "t2v")
    with pytest.raises(UserError, match="holds a model of the family wan, not wan22; set model=wan"):
        resolve_checkpoint(compose(["model=wan22", f"model.checkpoint={folder}"]))
    with pytest.raises(UserError, match="holds a model of the family tiny, not cosmos2; set model=tiny"):
        resolve_checkpoint(compose(["model=cosmos2", f"model.checkpoint={BASE}"]))


def test_a_family_needs_a_checkpoint() -> None:
    with pytest.raises(UserError, match=r"model\.checkpoint must be given, for example model\.checkpoint=VALUE"):
        compose(["model=wan"])


def test_an_unknown_pipeline_is_named_at_once(tmp_path: Path) -> None:
    folder = make_wan(tmp_path / "wan", "t2v")
    edit_index(folder, _class_name="MochiPipeline")
    with pytest.raises(UserError, match="holds a MochiPipeline; supported pipelines: WanPipeline"):
        compose([f"model.checkpoint={folder}"])


def test_a_name_on_the_hub_that_cannot_be_reached_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = compose(["model=wan", "model.checkpoint=Wan-AI/Wan2.1-T2V-1.3B-Diffusers"])
    with pytest.raises(UserError, match="is no folder here, and cannot be downloaded from the Hugging Face Hub"):
        resolve_checkpoint(config)
