"""The base checkpoint of the project is intact, and its recipe has the format that ``pretrain`` writes."""

import hashlib
import json
from dataclasses import asdict, fields

from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.train.settings import PretrainSettings


def test_every_file_has_a_checksum() -> None:
    lines = (BASE / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {str(path.relative_to(BASE)) for path in BASE.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert sums.keys() == files
    for name, digest in sums.items():
        assert hashlib.sha256((BASE / name).read_bytes()).hexdigest() == digest, name


def test_the_recipe_describes_the_model() -> None:
    recipe = json.loads((BASE / "recipe.json").read_text())
    assert {"pretrain", "framing", "model", "torch"} <= recipe.keys()
    # Settings may have been added since.
    assert recipe["pretrain"].keys() <= {field.name for field in fields(PretrainSettings)}
    config = asdict(load_world_model(BASE).config)
    described = {"num_frames": recipe["framing"]["num_frames"], **recipe["model"]}
    assert described == {**config, "domains": list(config["domains"])}
