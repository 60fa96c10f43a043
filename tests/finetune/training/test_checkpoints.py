"""A damaged checkpoint is skipped, two are kept, and each belongs to one base, one set of latents and one buffer."""

import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentCache, LatentSample, write_latents
from driveforge.finetune.training.checkpoints import find_newest_checkpoint, is_intact, list_checkpoints
from driveforge.finetune.training.fine_tune import FineTuneResult
from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.replay.buffer import ReplayBuffer
from tests.finetune.small_fine_tune import bit_sensitive_metric, prepare_root, run, settings_for

SETTINGS = settings_for("replay", steps=5)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a fine-tune that has checkpoints of steps 2 and 4."""
    root = tmp_path_factory.mktemp("checkpoints")
    prepare_root(root)
    run(root, "run", SETTINGS)
    return root


@pytest.fixture
def root(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "root"))


def digest(tuned: FineTuneResult) -> str:
    return tuned.model.digest()


def flip_a_weight(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:20000]),
    "empty": lambda path: path.write_bytes(b""),
    "a weight's bit flipped": flip_a_weight,
    "of another program": lambda path: torch.save({"state_dict": {}}, path),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    root: Path, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = digest(run(root, "run", SETTINGS))
    newest = root / "run" / "step=4.ckpt"
    damage(newest)
    capsys.readouterr()
    assert find_newest_checkpoint(root / "run") == root / "run" / "step=2.ckpt"
    printed = capsys.readouterr().out.replace("\n", "")
    assert printed == f"skipping {newest}: damaged, or not written by driveforge"
    if not newest.is_dir():
        assert digest(run(root, "run", SETTINGS)) == whole
        assert is_intact(newest), "it was written again"


def test_two_checkpoints_are_kept_and_no_other_file(root: Path) -> None:
    run(root, "longer", settings_for("naive", steps=9, checkpoint_every=2))
    assert [path.name for _, path in list_checkpoints(root / "longer")] == ["step=8.ckpt", "step=6.ckpt"]
    assert {path.name for path in (root / "longer").iterdir()} == {"step=8.ckpt", "step=6.ckpt"}


def test_torch_can_load_it(root: Path) -> None:
    kept = torch.load(root / "run" / "step=4.ckpt", weights_only=True)
    assert kept["global_step"] == 4 and kept["run_config"]["strategy"] == "replay"


def test_the_temporary_folder_is_not_used(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.utime(elsewhere, (0, 0))
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr(tempfile, "tempdir", None)
    run(root, "other", SETTINGS)
    assert elsewhere.stat().st_mtime == 0, "no file was ever created there"


def test_a_full_disk_is_a_one_line_error_and_keeps_older_checkpoints(root: Path) -> None:
    settings = settings_for("replay", steps=9)
    whole = digest(run(root, "whole", settings))
    before = (root / "run" / "step=4.ckpt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(
            UserError, match=r"step=6\.ckpt cannot be written \(.*\); finished work is intact"
        ) as raised:
            run(root, "run", settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(str(raised.value).splitlines()) == 1
    assert {path.name for path in (root / "run").iterdir()} == {"step=2.ckpt", "step=4.ckpt"}
    assert (root / "run" / "step=4.ckpt").read_bytes() == before
    assert digest(run(root, "run", settings)) == whole


def test_a_folder_that_cannot_be_written_is_an_error(root: Path) -> None:
    (root / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run.*cannot be (made|written)"):
        run(root, "file/run", settings_for("ewc", steps=2))


def change_latents(root: Path) -> None:
    cache = LatentCache(root / "latents", "key")
    samples = [cache.sample(number) for number in range(len(cache))]
    tensors = samples[3].tensors | {"latents": samples[3].tensors["latents"] + 0.001}
    samples[3] = LatentSample(clip_id="c3", domain="orbit", caption="a b", tensors=tensors)
    shutil.rmtree(root / "latents")
    write_latents(root / "latents", "key", samples)


def change_base(root: Path) -> None:
    model = load_world_model(root / "base")
    with torch.no_grad():
        model.view.weight += 0.5
    shutil.rmtree(root / "base")
    model.save_pretrained(root / "base")


def change_buffer(root: Path) -> None:
    old = ReplayBuffer.open(root / "buffer")
    with ReplayBuffer(root / "new", 8) as buffer:
        for domain, size in old.sizes.items():
            for number in range(size):
                sample = old.sample(domain, number)
                tensors = sample.tensors | {"latents": sample.tensors["latents"] + 1}
                buffer.add(LatentSample(clip_id=sample.clip_id, domain=domain, caption=sample.caption, tensors=tensors))
    shutil.rmtree(root / "buffer")
    (root / "new").rename(root / "buffer")


@pytest.mark.parametrize(
    ("change", "key"), [(change_latents, "driving"), (change_base, "base"), (change_buffer, "replay")]
)
def test_a_checkpoint_of_other_content_is_rejected(root: Path, change: Callable[[Path], None], key: str) -> None:
    """Number, names and sizes of the clips are the same, only their content differs."""
    change(root)
    with pytest.raises(UserError, match=rf"step=4\.ckpt was made from other data or settings \({key} was \w+"):
        run(root, "run", SETTINGS)


def test_a_checkpoint_with_another_fisher_is_rejected(root: Path) -> None:
    run(root, "fisher", settings_for("ewc", steps=2))
    with pytest.raises(UserError, match="num_fisher_samples was 6, is 5"):
        run(root, "fisher", settings_for("ewc", steps=4), num_fisher_samples=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "l2sp"}, "strategy was replay, is l2sp"),
        ({"strategy_weight": 0.5}, "strategy_weight was 0.0, is 0.5"),
        ({"share": 0.3}, r"share was FixedShare\(share=0.5\), is FixedShare\(share=0.3\)"),
        ({"schedule": "adaptive"}, "adaptive was None, is {"),
    ],
)
def test_a_checkpoint_of_another_strategy_or_share_is_rejected(
    root: Path, changes: dict[str, Any], message: str
) -> None:
    strategy = changes.pop("strategy", "replay")
    with pytest.raises(UserError, match=message):
        run(root, "run", settings_for(strategy, steps=5, **changes), forgetting_metric=bit_sensitive_metric)


def test_a_shorter_run_ignores_later_checkpoints(root: Path) -> None:
    short = settings_for("replay", steps=3)
    assert digest(run(root, "run", short)) == digest(run(root, "fresh", short))
