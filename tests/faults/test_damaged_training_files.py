"""Damaged models, checkpoints, latents and replay buffers give a one-line error or the same result."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from driveforge.datasets.latents.cache import LatentCache
from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.finetune.world_model.serialization import CHECKSUMS_FILE
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.persistent import open_persistent, update_transaction
from tests.faults.damage import damage_file_below, fresh_copy
from tests.faults.outcomes import OTHER, SAME, Record, record_outcome
from tests.finetune.small_fine_tune import prepare_root, run, settings_for

FEW, MANY = range(20), range(20, 250)
SEEDS = [*FEW, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MANY)]
# EWC stores its Fisher estimate in the run folder, next to the checkpoints.
SETTINGS = settings_for("ewc", steps=5)

Read = Callable[[Path], object]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, latents, the replay buffer of a run and a persistent one, and a fine-tune stopped at step 4."""
    root = tmp_path_factory.mktemp("sound")
    prepare_root(root)
    plain = ReplayBuffer.open(root / "buffer")
    with update_transaction(root / "persistent", plain.settings) as buffer:
        for domain, size in plain.sizes.items():
            for number in range(size):
                buffer.add(plain.sample(domain, number))
    run(root, "run", SETTINGS)
    return root


def weights_of(folder: Path) -> str:
    model = load_world_model(folder)
    return (
        model.digest()
        + str(model.config)
        + str([float(v.double().sum()) for v in model.codec.vae.state_dict().values()])
    )


def require_right(
    record: Record, what: str, folder: Path, seed: int, read: Read, expected: object, excluded: tuple[str, ...] = ()
) -> None:
    """Damage one file below ``folder`` and read it: the result is ``expected``, or an error that names the file."""
    kind, done = damage_file_below(folder, random.Random(seed), excluded)

    def classify(found: object) -> str:
        assert found == expected, done
        return SAME

    record_outcome(record, f"{what}: {kind}", lambda: read(folder), classify, naming(folder, done))


def naming(folder: Path, done: str) -> Callable[[str], None]:
    """A check that an error names a file of the folder, or a checkpoint."""

    def require(message: str) -> None:
        assert str(folder.parent) in message or "step=" in message, f"{done}: names no file: {message}"

    return require


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_model_is_refused(sound: Path, tmp_path: Path, seed: int, record_property: Record) -> None:
    folder = fresh_copy(sound / "base", tmp_path / "base")
    require_right(record_property, "model", folder, seed, weights_of, weights_of(sound / "base"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_model_without_checksums_is_refused_or_is_another_model(
    sound: Path, tmp_path: Path, seed: int, record_property: Record
) -> None:
    folder = fresh_copy(sound / "base", tmp_path / "base")
    (folder / CHECKSUMS_FILE).unlink()
    kind, done = damage_file_below(folder, random.Random(seed))

    def classify(found: str) -> str:
        same = found == weights_of(sound / "base")
        assert same or compute_model_digest(folder) != compute_model_digest(sound / "base"), (
            f"{done}: one digest for two models"
        )
        assert "nan" not in found and "inf" not in found, done
        return SAME if same else OTHER

    what = f"model without checksums: {kind}"
    record_outcome(record_property, what, lambda: weights_of(folder), classify, naming(folder, done))


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_latents_are_refused(sound: Path, tmp_path: Path, seed: int, record_property: Record) -> None:
    def digest(root: Path) -> str:
        return LatentCache(root, "key").digest()

    folder = fresh_copy(sound / "latents", tmp_path / "latents")
    require_right(record_property, "latents", folder, seed, digest, digest(sound / "latents"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_buffer_of_a_run_is_refused_or_filled_again(
    sound: Path, tmp_path: Path, seed: int, record_property: Record
) -> None:
    """The buffer of a run has no list of its segments; like a run, this test adds missing samples again."""
    whole = ReplayBuffer.open(sound / "buffer")

    def filled_again(folder: Path) -> str:
        with ReplayBuffer(folder, 8) as buffer:
            for domain, size in whole.sizes.items():
                for number in range(size):
                    buffer.add(whole.sample(domain, number))
        return ReplayBuffer.open(folder).digest()

    folder = fresh_copy(sound / "buffer", tmp_path / "buffer")
    require_right(record_property, "buffer of a run", folder, seed, filled_again, whole.digest())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_persistent_buffer_is_refused(
    sound: Path, tmp_path: Path, seed: int, record_property: Record
) -> None:
    def digest(root: Path) -> str:
        return open_persistent(root).digest()

    folder = fresh_copy(sound / "persistent", tmp_path / "persistent")
    expected = digest(sound / "persistent")
    require_right(record_property, "persistent buffer", folder, seed, digest, expected, (".writer",))


@pytest.fixture(scope="module")
def whole_digest(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the model of the undamaged run."""
    return trained(fresh_copy(sound, tmp_path_factory.mktemp("whole") / "root") / "run")


def trained(folder: Path) -> str:
    return run(folder.parent, folder.name, SETTINGS).model.digest()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_run_is_refused_or_ends_with_the_same_weights(
    sound: Path, whole_digest: str, tmp_path: Path, seed: int, record_property: Record
) -> None:
    """If checkpoints or files of the strategy are damaged, the run resumes from an earlier step or restarts."""
    root = fresh_copy(sound, tmp_path / "root")
    require_right(record_property, "checkpoints of a run", root / "run", seed, trained, whole_digest)
