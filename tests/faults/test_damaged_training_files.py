"""Models, checkpoints, latents and buffers, changed in one of many seeded ways: told in a line, or harmless."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from datasets.errors import MAX_LENGTH, UserError
from datasets.latents import LatentCache
from finetune.saved_parts import SUMS
from finetune.world_model import WorldModel, model_digest
from replay.buffer import ReplayBuffer
from replay.standing import changing, open_standing
from tests.faults.mutated import copy_of, mutate
from tests.finetune.small_fine_tune import prepare_root, run, settings_for

FEW, MANY = range(20), range(20, 250)
SEEDS = [*FEW, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MANY)]
# Its estimate and its checkpoints are both files of the run.
SETTINGS = settings_for("ewc", steps=5)

Read = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, latents, a buffer in a plain folder and a standing one, and a fine-tune that was stopped at step 4."""
    root = tmp_path_factory.mktemp("sound")
    torch.set_num_threads(1)
    prepare_root(root)
    plain = ReplayBuffer.open(root / "buffer")
    with changing(root / "standing", plain.settings) as buffer:
        for domain, size in plain.sizes.items():
            for number in range(size):
                buffer.offer(plain.sample(domain, number))
    run(root, "run", SETTINGS)
    return root


def weights_of(folder: Path) -> str:
    model = WorldModel.from_pretrained(folder)
    return model.digest() + str(model.config) + str([float(v.double().sum()) for v in model.vae.state_dict().values()])


def require_told(error: UserError, folder: Path, done: str) -> None:
    message = str(error)
    assert len(message) <= MAX_LENGTH and len(message.splitlines()) == 1, f"{done}: {message}"
    assert str(folder.parent) in message or "step=" in message, f"{done}: names no file: {message}"


def require_right(folder: Path, seed: int, read: Read, right: object, spared: tuple[str, ...] = ()) -> None:
    done = mutate(folder, random.Random(seed), spared)
    try:
        found = read(folder)
    except UserError as error:
        require_told(error, folder, done)
    else:
        assert found == right, f"{done}: was accepted"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_model_is_refused(sound: Path, tmp_path: Path, seed: int) -> None:
    require_right(copy_of(sound / "base", tmp_path / "base"), seed, weights_of, weights_of(sound / "base"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_model_without_sums_is_refused_or_is_another_model(sound: Path, tmp_path: Path, seed: int) -> None:
    folder = copy_of(sound / "base", tmp_path / "base")
    (folder / SUMS).unlink()
    done = mutate(folder, random.Random(seed))
    try:
        found = weights_of(folder)
    except UserError as error:
        require_told(error, folder, done)
    else:
        same = found == weights_of(sound / "base")
        assert same or model_digest(folder) != model_digest(sound / "base"), f"{done}: one digest for two models"
        assert "nan" not in found and "inf" not in found, done


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_latents_are_refused(sound: Path, tmp_path: Path, seed: int) -> None:
    def digest(root: Path) -> str:
        return LatentCache(root, "key").digest()

    require_right(copy_of(sound / "latents", tmp_path / "latents"), seed, digest, digest(sound / "latents"))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["buffer", "standing"])
def test_a_damaged_buffer_is_refused(sound: Path, tmp_path: Path, seed: int, name: str) -> None:
    def digest(root: Path) -> str:
        return (ReplayBuffer.open(root) if name == "buffer" else open_standing(root)).digest()

    folder = copy_of(sound / name, tmp_path / name)
    spared = (".writer",)
    if name == "buffer":
        # A plain folder has no list of its segments: a run offers again what is missing, as this does.
        done = mutate(folder, random.Random(seed), spared)
        try:
            with ReplayBuffer(folder, 8) as buffer:
                whole = ReplayBuffer.open(sound / name)
                for domain, size in whole.sizes.items():
                    for number in range(size):
                        buffer.offer(whole.sample(domain, number))
            assert digest(folder) == whole.digest(), f"{done}: was accepted"
        except UserError as error:
            require_told(error, folder, done)
    else:
        require_right(folder, seed, digest, digest(sound / name), spared)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_run_is_refused_or_ends_with_the_same_weights(sound: Path, tmp_path: Path, seed: int) -> None:
    """Checkpoints and what a strategy stored: the run goes on from the one before, or begins anew."""
    root = copy_of(sound, tmp_path / "root")
    whole = run(root, "run", SETTINGS).model.digest()
    require_right(root / "run", seed, lambda folder: run(root, "run", SETTINGS).model.digest(), whole)
