"""Models, checkpoints, latents and buffers, changed in one of many seeded ways: told in a line, or harmless."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from driveforge.datasets.latents.cache import LatentCache
from driveforge.finetune.world_model.model import WorldModel, compute_model_digest
from driveforge.finetune.world_model.serialization import CHECKSUMS_FILE
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.persistent import open_persistent, update_transaction
from tests.faults.mutated import copy_of, mutate
from tests.faults.outcomes import OTHER, SAME, Record, judge
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
    with update_transaction(root / "standing", plain.settings) as buffer:
        for domain, size in plain.sizes.items():
            for number in range(size):
                buffer.add(plain.sample(domain, number))
    run(root, "run", SETTINGS)
    return root


def weights_of(folder: Path) -> str:
    model = WorldModel.from_pretrained(folder)
    return model.digest() + str(model.config) + str([float(v.double().sum()) for v in model.vae.state_dict().values()])


def require_right(
    record: Record, what: str, folder: Path, seed: int, read: Read, right: object, spared: tuple[str, ...] = ()
) -> None:
    """Mutate one file below ``folder`` and read that: what is ``right``, or a line that names where it is wrong."""
    kind, done = mutate(folder, random.Random(seed), spared)

    def end_of(found: object) -> str:
        assert found == right, done
        return SAME

    judge(record, f"{what}: {kind}", lambda: read(folder), end_of, naming(folder, done))


def naming(folder: Path, done: str) -> Callable[[str], None]:
    """Requires of what is told that it names a file of the folder, or a checkpoint."""

    def require(message: str) -> None:
        assert str(folder.parent) in message or "step=" in message, f"{done}: names no file: {message}"

    return require


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_model_is_refused(sound: Path, tmp_path: Path, seed: int, record_property: Record) -> None:
    folder = copy_of(sound / "base", tmp_path / "base")
    require_right(record_property, "model", folder, seed, weights_of, weights_of(sound / "base"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_model_without_sums_is_refused_or_is_another_model(
    sound: Path, tmp_path: Path, seed: int, record_property: Record
) -> None:
    folder = copy_of(sound / "base", tmp_path / "base")
    (folder / CHECKSUMS_FILE).unlink()
    kind, done = mutate(folder, random.Random(seed))

    def end_of(found: str) -> str:
        same = found == weights_of(sound / "base")
        assert same or compute_model_digest(folder) != compute_model_digest(sound / "base"), (
            f"{done}: one digest for two models"
        )
        assert "nan" not in found and "inf" not in found, done
        return SAME if same else OTHER

    what = f"model without sums: {kind}"
    judge(record_property, what, lambda: weights_of(folder), end_of, naming(folder, done))


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_latents_are_refused(sound: Path, tmp_path: Path, seed: int, record_property: Record) -> None:
    def digest(root: Path) -> str:
        return LatentCache(root, "key").digest()

    folder = copy_of(sound / "latents", tmp_path / "latents")
    require_right(record_property, "latents", folder, seed, digest, digest(sound / "latents"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_buffer_of_a_run_is_refused_or_filled_again(
    sound: Path, tmp_path: Path, seed: int, record_property: Record
) -> None:
    """It has no list of its segments: a run offers again what is missing, as this does."""
    whole = ReplayBuffer.open(sound / "buffer")

    def filled_again(folder: Path) -> str:
        with ReplayBuffer(folder, 8) as buffer:
            for domain, size in whole.sizes.items():
                for number in range(size):
                    buffer.add(whole.sample(domain, number))
        return ReplayBuffer.open(folder).digest()

    folder = copy_of(sound / "buffer", tmp_path / "buffer")
    require_right(record_property, "buffer of a run", folder, seed, filled_again, whole.digest())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_standing_buffer_is_refused(sound: Path, tmp_path: Path, seed: int, record_property: Record) -> None:
    def digest(root: Path) -> str:
        return open_persistent(root).digest()

    folder = copy_of(sound / "standing", tmp_path / "standing")
    require_right(record_property, "standing buffer", folder, seed, digest, digest(sound / "standing"), (".writer",))


@pytest.fixture(scope="module")
def whole_digest(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the model that the run ends with when nothing is damaged."""
    return trained(copy_of(sound, tmp_path_factory.mktemp("whole") / "root") / "run")


def trained(folder: Path) -> str:
    return run(folder.parent, folder.name, SETTINGS).model.digest()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_run_is_refused_or_ends_with_the_same_weights(
    sound: Path, whole_digest: str, tmp_path: Path, seed: int, record_property: Record
) -> None:
    """Checkpoints and what a strategy stored: the run goes on from the one before, or begins anew."""
    root = copy_of(sound, tmp_path / "root")
    require_right(record_property, "checkpoints of a run", root / "run", seed, trained, whole_digest)
