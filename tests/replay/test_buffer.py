import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentSample
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.segments import SEGMENT_SIZE

REPOSITORY = Path(__file__).parents[2]


def clip_ids_by_domain(buffer: ReplayBuffer) -> dict[str, list[str]]:
    return {d: [buffer.sample(d, i).clip_id for i in range(size)] for d, size in buffer.sizes.items()}


def test_every_sample_is_kept_below_the_capacity(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    with ReplayBuffer(tmp_path, 10) as buffer:
        assert all(buffer.add(make_sample(n)) for n in range(10))
    assert buffer.sizes == {"orbit": 10}
    stored = {buffer.sample("orbit", i).clip_id: buffer.sample("orbit", i) for i in range(10)}
    for n in range(10):
        wanted = make_sample(n)
        got = stored[wanted.clip_id]
        assert (got.domain, got.caption) == (wanted.domain, wanted.caption)
        assert all(torch.equal(got.tensors[name], wanted.tensors[name]) for name in wanted.tensors)


def test_add_returns_whether_the_sample_is_held(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    buffer = ReplayBuffer(tmp_path, 5)
    answers = {}
    for n in range(40):
        answers[make_sample(n).clip_id] = buffer.add(make_sample(n))
        held = clip_ids_by_domain(buffer)["orbit"]
        assert answers[make_sample(n).clip_id] == (make_sample(n).clip_id in held)
    assert not all(answers.values())
    assert all(buffer.add(make_sample(int(clip_id[-5:]))) for clip_id in held)


@settings(max_examples=25, deadline=None)
@given(
    stream=st.lists(st.tuples(st.sampled_from(["orbit", "falling", "walkers", "handheld"]), st.integers(0, 30))),
    capacity=st.integers(4, 20),
    seed=st.integers(0, 3),
)
def test_capacity_and_balance_hold_after_every_add(
    make_sample: Callable[..., LatentSample], stream: list[tuple[str, int]], capacity: int, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        buffer = ReplayBuffer(Path(folder), capacity, seed=seed)
        added: dict[str, set[int]] = {}
        for domain, number in stream:
            buffer.add(make_sample(number, domain))
            added.setdefault(domain, set()).add(number)
            assert len(buffer) <= capacity
            for name, numbers in added.items():
                assert buffer.sizes[name] >= min(len(numbers), capacity // len(added))
                assert buffer.sizes[name] <= math.ceil(capacity / len(added))
        assert set(buffer.domains) == set(added)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), capacity=st.integers(3, 12))
def test_order_repetition_and_reopening_change_nothing(
    make_sample: Callable[..., LatentSample], data: st.DataObject, capacity: int
) -> None:
    clips = [(domain, n) for domain in ("orbit", "falling", "walkers") for n in range(9)]
    shuffled = data.draw(st.permutations(clips))
    stop = data.draw(st.integers(0, len(clips)))
    with tempfile.TemporaryDirectory() as folder:
        with ReplayBuffer(Path(folder, "a"), capacity) as once:
            for domain, n in clips:
                once.add(make_sample(n, domain))
        with ReplayBuffer(Path(folder, "b"), capacity) as before:
            for domain, n in shuffled[:stop]:
                before.add(make_sample(n, domain))
        with ReplayBuffer(Path(folder, "b"), capacity) as again:
            for domain, n in shuffled:
                again.add(make_sample(n, domain))
        assert (
            clip_ids_by_domain(once)
            == clip_ids_by_domain(again)
            == clip_ids_by_domain(ReplayBuffer.open(Path(folder, "b")))
        )
        assert once.digest() == again.digest()


def test_the_digest_depends_only_on_the_content(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    digests = set()
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        with ReplayBuffer(tmp_path / name, 4) as buffer:
            buffer.add(LatentSample(clip_id="x", domain="d", caption="", tensors={"latents": torch.tensor([value])}))
        digests.add(buffer.digest())
    assert len(digests) == 2


def test_the_digest_is_the_same_before_and_after_a_flush_that_prunes(
    tmp_path: Path, make_sample: Callable[..., LatentSample]
) -> None:
    buffer = ReplayBuffer(tmp_path, 10, retention="loss")
    for n in range(30):
        buffer.add(replace(make_sample(n), origin={"score": str(n)}))
    digest = buffer.digest()
    assert len(buffer) == 10
    assert digest == ReplayBuffer.open(tmp_path).digest()


def test_the_reservoir_is_uniform(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    """Chi-square over 60 seeds: each of 50 clips should be among the 10 kept a fifth of the time, early or late."""
    stream = [make_sample(n) for n in range(50)]
    kept: Counter[str] = Counter()
    for seed in range(60):
        with ReplayBuffer(tmp_path / str(seed), 10, seed=seed) as buffer:
            for sample in stream:
                buffer.add(sample)
        kept.update(clip_ids_by_domain(buffer)["orbit"])
    expected = 60 * 10 / 50
    chi_square = sum((kept[sample.clip_id] - expected) ** 2 / (expected * 0.8) for sample in stream)
    assert sum(kept.values()) == 600
    assert 22 < chi_square < 88  # 49 degrees of freedom: 0.05 % in each tail


def test_dead_samples_are_deleted_from_disk(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    buffer = ReplayBuffer(tmp_path, 20)
    for n in range(3000):
        buffer.add(make_sample(n))
        if n % 50 == 0:
            buffer.sample("orbit", 0)
    kept = clip_ids_by_domain(buffer)
    assert len(list(tmp_path.glob("segment-*"))) <= 4
    assert clip_ids_by_domain(ReplayBuffer.open(tmp_path)) == kept
    assert buffer.stats().num_bytes == sum(path.stat().st_size for path in tmp_path.glob("segment-*"))
    if Path("/proc/self/maps").exists():
        assert f"{tmp_path}/segment" not in "".join(
            line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("(deleted)")
        )


def test_stats(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    with ReplayBuffer(tmp_path, 7) as buffer:
        for n in range(5):
            buffer.add(make_sample(n, "walkers"))
        buffer.add(make_sample(0, "orbit"))
    stats = buffer.stats()
    assert stats.quotas == {"orbit": 4, "walkers": 3}
    assert stats.samples == {"orbit": 1, "walkers": 3}


@pytest.mark.parametrize("change", [{"capacity": 9}, {"seed": 1}, {"key": "other"}])
def test_opening_with_other_settings_is_refused(
    tmp_path: Path, make_sample: Callable[..., LatentSample], change: dict[str, Any]
) -> None:
    with ReplayBuffer(tmp_path, 8, key="vae") as buffer:
        buffer.add(make_sample(0))
    wanted: dict[str, Any] = {"capacity": 8, "seed": 0, "key": "vae"} | change
    with pytest.raises(UserError, match=next(iter(change))):
        ReplayBuffer(tmp_path, **wanted)
    assert ReplayBuffer.open(tmp_path).sizes == {"orbit": 1}


def test_a_bad_sample_is_an_error_and_changes_nothing(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    buffer = ReplayBuffer(tmp_path, 2)
    buffer.add(make_sample(0))
    with pytest.raises(UserError, match=r"orbit-00001.*differ"):
        buffer.add(make_sample(1, channels=3))
    broken = make_sample(2)
    broken.tensors["latents"][0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=r"orbit-00002.*NaN"):
        buffer.add(broken)
    buffer.add(make_sample(0, "falling"))
    with pytest.raises(UserError, match="capacity 2"):
        buffer.add(make_sample(0, "walkers"))
    assert buffer.sizes == {"falling": 1, "orbit": 1}


def test_a_folder_without_a_buffer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a replay buffer"):
        ReplayBuffer.open(tmp_path)
    (tmp_path / "buffer.json").write_text("{")
    with pytest.raises(UserError, match=r"buffer\.json"):
        ReplayBuffer.open(tmp_path)


def test_a_truncated_segment_is_named(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    with ReplayBuffer(tmp_path, 4) as buffer:
        buffer.add(make_sample(0))
    segment = next(tmp_path.glob("segment-*"))
    segment.write_bytes(segment.read_bytes()[:-10])
    with pytest.raises(UserError, match=segment.name):
        ReplayBuffer.open(tmp_path)


def test_unknown_domain_and_index(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    with ReplayBuffer(tmp_path, 4) as buffer:
        buffer.add(make_sample(0))
    with pytest.raises(UserError, match="no domain 'rain'"):
        buffer.sample("rain", 0)
    with pytest.raises(IndexError):
        buffer.sample("orbit", 1)


def test_a_pickled_buffer_reads_the_same(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    buffer = ReplayBuffer(tmp_path, 10)
    for n in range(30):
        buffer.add(make_sample(n))
    copy = pickle.loads(pickle.dumps(buffer))
    assert clip_ids_by_domain(copy) == clip_ids_by_domain(buffer)
    assert len(list(tmp_path.glob("segment-*"))) == 1


def test_memory_holds_sixteen_bytes_a_sample(tmp_path: Path, make_sample: Callable[..., LatentSample]) -> None:
    with ReplayBuffer(tmp_path, 500) as buffer:
        for n in range(500):
            buffer.add(make_sample(n))
    for i in range(500):
        buffer.sample("orbit", i)
    assert len(pickle.dumps(buffer)) < 500 * 16 + 1500


FILL = """
import sys, torch
from pathlib import Path
from driveforge.datasets.latents.cache import LatentSample
from driveforge.replay.buffer import ReplayBuffer
with ReplayBuffer(Path(sys.argv[1]), 150) as buffer:
    for n in range(2000):
        for domain in ("orbit", "falling"):
            tensors = {"latents": torch.full((2, 3, 2, 2), float(n)), "present": torch.ones(4)}
            buffer.add(LatentSample(clip_id=f"{domain}-{n:05d}", domain=domain, caption=f"clip {n}", tensors=tensors))
        print(n, flush=True)
    sys.stdin.read()
"""


def test_a_sigkill_at_any_moment_loses_at_most_one_segment(
    tmp_path: Path, make_sample: Callable[..., LatentSample]
) -> None:
    clips = [(domain, n) for n in range(2000) for domain in ("orbit", "falling")]
    with ReplayBuffer(tmp_path / "whole", 150) as whole:
        for domain, n in clips:
            whole.add(make_sample(n, domain))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    for attempt, offers in enumerate((90, 700, 1300)):
        process = subprocess.Popen(
            [sys.executable, "-c", FILL, str(tmp_path / "killed")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= offers:
                break
        time.sleep(0.001 * attempt)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        survivor = ReplayBuffer.open(tmp_path / "killed")
        assert len(survivor) >= min(offers, 150) - SEGMENT_SIZE
        for domain, size in survivor.sizes.items():
            for i in range(size):
                sample = survivor.sample(domain, i)
                wanted = make_sample(int(sample.clip_id[-5:]), domain)
                assert torch.equal(sample.tensors["latents"], wanted.tensors["latents"])
    with ReplayBuffer(tmp_path / "killed", 150) as resumed:
        for domain, n in clips:
            resumed.add(make_sample(n, domain))
    assert resumed.digest() == whole.digest()


def test_an_interrupted_compaction_leaves_the_same_content(
    tmp_path: Path, make_sample: Callable[..., LatentSample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old segments are not deleted, as after a kill between writing the new ones and deleting the old ones."""
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with ReplayBuffer(tmp_path / "cut", 20) as cut:
            for n in range(2500):
                cut.add(make_sample(n))
                if n % 100 == 0:
                    cut.flush()
    assert len(list((tmp_path / "cut").glob("segment-*"))) > 3
    with ReplayBuffer(tmp_path / "whole", 20) as whole:
        for n in range(2500):
            whole.add(make_sample(n))
    assert ReplayBuffer.open(tmp_path / "cut").digest() == whole.digest()
