"""Makes labeled crops, trains the network, writes its weights, and evaluates it on clips that it has not seen."""

import hashlib
import json
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from driveforge.datasets.files.atomic import atomic_file, make_folder, write_atomic
from driveforge.datasets.progress import track
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.pipelines.console import print_result
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.processes.threads import limit_threads
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.studies.artifacts.examples import Examples, make_examples
from driveforge.pipelines.studies.artifacts.report import report
from driveforge.pipelines.studies.artifacts.settings import ArtifactStudy
from driveforge.pipelines.studies.artifacts.training import LossPoint, train_network
from driveforge.pipelines.train.base_files import make_csv
from driveforge.validation.artifact_weights import CURVE_FILE, RECIPE_FILE, WEIGHTS_FILE
from driveforge.validation.learned.network import ArtifactNetwork

# No multiple of `versions.SPOILT_EVERY`, so that clips of both kinds are held out.
HELD_OUT_EVERY = 8


def train_artifact_network(settings: ArtifactStudy, page: Path) -> None:
    """Write weights, recipe and curve to ``settings.out``, and the evaluation to ``page``."""
    limit_threads()
    examples = load_examples(settings)
    is_held_out = examples.clip % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    seen, held_out = examples.select(~is_held_out), examples.select(is_held_out)
    network, curve = train_network(seen, settings)
    save_network(network, curve, settings, len(seen))
    make_folder(page.parent)
    write_atomic(page, report(network, len(seen), held_out, settings).encode())
    print_result(page)


def load_examples(settings: ArtifactStudy) -> Examples:
    """The labeled crops of all clips; those of finished clips are read from ``<run_dir>/crops``."""
    make_folder(settings.run_dir / "crops")
    make = partial(_load_clip_examples, settings=settings)
    numbers = range(settings.num_clips)
    return Examples.join(list(track(parallel_map(make, numbers), "Making crops", total=len(numbers))))


def _load_clip_examples(number: int, settings: ArtifactStudy) -> Examples:
    path = settings.run_dir / "crops" / f"{settings.seed}-{number:05d}.npz"
    if not path.exists():
        examples = make_examples(number, settings.seed, _load_base())
        with atomic_file(path) as file:
            np.savez(file, **{name: getattr(examples, name) for name in Examples.__dataclass_fields__})
    with np.load(path, allow_pickle=False) as arrays:
        return Examples(**{name: arrays[name] for name in Examples.__dataclass_fields__})


@cache
def _load_base() -> WorldModelGenerator:
    return WorldModelGenerator.load(BASE)


def save_network(network: ArtifactNetwork, curve: list[LossPoint], settings: ArtifactStudy, num_examples: int) -> None:
    """Write half-precision weights, the recipe with their sha256, and the curve."""
    make_folder(settings.out)
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()
    }
    content = save(tensors)
    recipe = {
        "command": "python -m driveforge.pipelines.studies.artifacts",
        "settings": {key: value for key, value in asdict(settings).items() if key not in ("out", "run_dir")},
        "crops": num_examples,
        "torch": torch.__version__,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    write_atomic(settings.out / WEIGHTS_FILE, content)
    write_atomic(settings.out / RECIPE_FILE, (json.dumps(recipe, indent=2) + "\n").encode())
    write_atomic(settings.out / CURVE_FILE, make_csv([asdict(point) for point in curve]))
