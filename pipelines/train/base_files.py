"""The folder of a base checkpoint: weights, the recipe that tells one base from another, and training curves."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.atomic_folder import atomic_folder, is_absent_or_empty
from driveforge.datasets.files.json_record import read_json
from driveforge.datasets.framing import Framing
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.finetune.world_model.serialization import safetensors_errors_as_os_errors, write_checksums
from driveforge.finetune.world_model.wan_codec import load_vae
from driveforge.pipelines.train.settings import PretrainSettings

RECIPE = "recipe.json"
VAE_CURVE = "vae_curve.csv"
_CURVE_POINTS = 300


def require_base(start: Path) -> None:
    """Raise UserError if ``start`` is not a folder that ``save_base`` wrote."""
    for name in ("vae/config.json", VAE_CURVE, RECIPE):
        if not (start / name).is_file():
            raise UserError(f"pretrain.start={start} holds no base: {name} is missing; use a model that pretrain made")


def copy_vae(start: Path, out: Path) -> None:
    """Copy the VAE of an earlier base and its curve, so that both bases share a latent space."""
    write_atomic(out / VAE_CURVE, (start / VAE_CURVE).read_bytes())
    save_vae(load_vae(start), out)


def save_vae(vae: AutoencoderKLWan, out: Path) -> None:
    """Save atomically: the next call takes an existing folder as finished."""
    with atomic_folder(out / "vae") as scratch, safetensors_errors_as_os_errors(scratch):
        vae.save_pretrained(scratch)


def save_base(
    model: TinyWorldModel, curve: Sequence[dict[str, Any]], settings: PretrainSettings, framing: Framing
) -> None:
    """Write ``<out>/model``: half-precision weights, the recipe, the training curve and checksums."""
    is_new = settings.start is None
    model.trained_frames = framing.num_frames if is_new else max(model.trained_frames, framing.num_frames)
    config = replace(model.config, num_frames=model.trained_frames)
    recipe = make_recipe(settings, framing) | {"model": asdict(config), "torch": torch.__version__}
    if settings.start is not None:
        recipe["started_from"] = read_json(settings.start / RECIPE)
    with atomic_folder(settings.out / "model") as folder:
        model.save_pretrained(folder, torch.float16)
        (folder / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n")
        (folder / VAE_CURVE).write_bytes(make_csv(list(csv.DictReader((settings.out / VAE_CURVE).open()))))
        (folder / "curve.csv").write_bytes(make_csv(curve))
        write_checksums(folder)


def make_recipe(settings: PretrainSettings, framing: Framing) -> dict[str, Any]:
    """The settings that determine a base, without its path, as read back from JSON."""
    decisive = {key: value for key, value in asdict(settings).items() if key != "out"}
    if not settings.context_noise:  # a base of the time before there was this setting has it so
        del decisive["context_noise"]
    plain: dict[str, Any] = json.loads(json.dumps({"pretrain": decisive, "framing": asdict(framing)}, default=str))
    return plain


def is_done(folder: Path, settings: PretrainSettings, framing: Framing) -> bool:
    """Whether the base is finished; raises UserError if a base with other settings is there."""
    if is_absent_or_empty(folder):
        return False
    recorded = read_json(folder / RECIPE, "move the folder away, or choose another pretrain.out")
    expected = make_recipe(settings, framing)
    if not isinstance(recorded, dict) or any(recorded.get(key) != value for key, value in expected.items()):
        raise UserError(f"{folder} was made with other settings; move it away, or choose another pretrain.out")
    return True


def logged_losses(folder: Path) -> list[dict[str, Any]]:
    """Step and loss over all resumed runs, in order; a later run overrides the steps that it repeated."""
    losses: dict[int, float] = {}
    for path in sorted(folder.glob("version_*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1])):
        losses |= {int(row["step"]): float(row["loss"]) for row in csv.DictReader(path.open()) if row.get("loss")}
    return [{"step": step, "loss": losses[step]} for step in sorted(losses)]


def make_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    """CSV of some hundred rows at most; longer curves are averaged over neighboring rows. Missing values are empty."""
    size = max(1, len(rows) // _CURVE_POINTS)
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    table, names = io.StringIO(), list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(names)
    for group in groups:
        columns = [[float(row[name]) for row in group if row.get(name) not in (None, "")] for name in names]
        writer.writerow([f"{np.mean(column):.5g}" if column else "" for column in columns])
    return table.getvalue().encode()
