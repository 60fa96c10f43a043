import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentSample
from driveforge.replay.audit import audit
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.persistent import get_license, open_persistent, remove_samples, update_transaction
from driveforge.replay.settings import BufferSettings

REPOSITORY = Path(__file__).parents[2]
SETTINGS = BufferSettings(capacity=40, key="vae")


@pytest.fixture
def make(make_sample: Callable[..., LatentSample]) -> Callable[..., LatentSample]:
    def make(number: int, domain: str = "orbit", **origin: Any) -> LatentSample:
        return replace(make_sample(number, domain), origin=origin)

    return make


@pytest.fixture
def filled(tmp_path: Path, make: Callable[..., LatentSample]) -> Path:
    """A buffer of 40 of 60 clips: 30 of a domain under MIT, and 30 of another domain under CC BY."""
    root = tmp_path / "buffer"
    with update_transaction(root, SETTINGS) as buffer:
        for n in range(30):
            buffer.add(make(n, license="MIT"))
            buffer.add(make(n, "falling", license="CC BY 4.0"))
    return root


def clips(buffer: ReplayBuffer) -> set[tuple[str, str]]:
    return {(d, buffer.sample(d, i).clip_id) for d, size in buffer.sizes.items() for i in range(size)}


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_a_transaction_adds_to_the_content_of_earlier_ones(filled: Path, make: Callable[..., LatentSample]) -> None:
    assert open_persistent(filled).sizes == {"falling": 20, "orbit": 20}
    with update_transaction(filled, SETTINGS) as buffer:
        for n in range(5):
            buffer.add(make(n, "walkers"))
    assert open_persistent(filled).sizes == {"falling": 14, "orbit": 13, "walkers": 5}
    assert audit(filled).problems == ()
    assert folders(filled) == ["generation-000001"]


def test_several_transactions_give_the_content_of_one(
    filled: Path, tmp_path: Path, make: Callable[..., LatentSample]
) -> None:
    with update_transaction(tmp_path / "parts", SETTINGS) as buffer:
        for n in range(29, 10, -1):
            buffer.add(make(n, "falling", license="CC BY 4.0"))
    with update_transaction(tmp_path / "parts", SETTINGS) as buffer:
        for n in range(30):
            buffer.add(make(n, license="MIT"))
            buffer.add(make(n, "falling", license="CC BY 4.0"))
    assert open_persistent(tmp_path / "parts").digest() == open_persistent(filled).digest()


def test_a_transaction_that_fails_or_changes_nothing_makes_no_generation(
    filled: Path, make: Callable[..., LatentSample]
) -> None:
    before = open_persistent(filled).digest()
    with pytest.raises(RuntimeError), update_transaction(filled, SETTINGS) as buffer:
        for n in range(100, 200):
            buffer.add(make(n))
        raise RuntimeError
    with update_transaction(filled, SETTINGS) as buffer:
        assert not any(buffer.would_accept(("orbit", make(n).clip_id) for n in range(30)))
        buffer.add(make(3))
    assert open_persistent(filled).digest() == before
    assert folders(filled) == ["generation-000000"]


def test_would_accept_predicts_which_samples_stay(filled: Path, make: Callable[..., LatentSample]) -> None:
    offers = [make(n, domain) for domain in ("orbit", "walkers") for n in range(60)]
    with update_transaction(filled, SETTINGS) as buffer:
        before = clips(buffer)
        accepted = buffer.would_accept((sample.domain, sample.clip_id) for sample in offers)
        for sample in offers:
            buffer.add(sample)
        new = clips(buffer) - before
    assert {(s.domain, s.clip_id) for s, is_accepted in zip(offers, accepted, strict=True) if is_accepted} == new
    assert len(new) > 10


def test_quotas_hold_and_the_rest_is_shared(filled: Path, make: Callable[..., LatentSample]) -> None:
    settings = replace(SETTINGS, quotas={"walkers": 4})
    with update_transaction(filled, settings) as buffer:
        for n in range(30):
            buffer.add(make(n, "walkers"))
    assert open_persistent(filled).sizes == {"falling": 18, "orbit": 18, "walkers": 4}
    with update_transaction(filled, replace(SETTINGS, quotas={"walkers": 4, "orbit": 2})):
        pass
    assert open_persistent(filled).sizes == {"falling": 18, "orbit": 2, "walkers": 4}
    with update_transaction(filled, SETTINGS):
        pass
    assert open_persistent(filled).sizes == {"falling": 14, "orbit": 2, "walkers": 4}, "evicted samples do not return"
    with (
        pytest.raises(UserError, match="leave no space for walkers"),
        update_transaction(filled, BufferSettings(capacity=3, key="vae", quotas={"orbit": 2})),
    ):
        pass


@pytest.mark.parametrize("retention", ["herding", "loss"])
def test_other_policies_select_from_the_whole_stream(
    retention: str, tmp_path: Path, make: Callable[..., LatentSample]
) -> None:
    settings = BufferSettings(capacity=10, retention=retention)
    for numbers in (range(0, 170), range(170, 300)):
        with update_transaction(tmp_path / retention, settings) as buffer:
            for n in numbers:
                buffer.add(make(n, score=repr(float(-abs(n - 250)))))
    buffer = open_persistent(tmp_path / retention)
    kept = sorted(int(clip_id[-5:]) for _, clip_id in clips(buffer))
    assert len(kept) == 10
    if retention == "loss":
        assert set(range(246, 255)) <= set(kept)
    else:
        # The mean of a random subset has a standard deviation of 27.
        assert abs(sum(kept) / 10 - 149.5) < 5, "their mean is near that of all added samples"
    assert audit(tmp_path / retention).problems == ()


def test_only_clips_under_the_given_licenses_are_read(filled: Path) -> None:
    buffer = open_persistent(filled, licenses=["MIT"])
    assert buffer.sizes == {"orbit": 20}
    assert {get_license(entry) for entry in buffer.entries()} == {"MIT"}
    assert open_persistent(filled).sizes == {"falling": 20, "orbit": 20}
    with pytest.raises(UserError, match="holds no clips under GPL"):
        open_persistent(filled, licenses=["GPL"])


def test_removed_clips_are_deleted_from_disk(filled: Path) -> None:
    assert remove_samples(filled, lambda entry: get_license(entry) == "MIT") == 20
    assert open_persistent(filled).sizes == {"falling": 20}
    assert not any(b"MIT" in path.read_bytes() for path in filled.rglob("segment-*"))
    assert audit(filled).problems == ()


def test_a_reader_keeps_its_generation_while_others_change_the_buffer(
    filled: Path, make: Callable[..., LatentSample]
) -> None:
    reader = open_persistent(filled)
    digest = reader.digest()
    copy = pickle.loads(pickle.dumps(reader))
    remove_samples(filled, lambda entry: entry["domain"] == "orbit")
    assert reader.digest() == copy.digest() == digest
    assert len(folders(filled)) == 2
    del reader
    with update_transaction(filled, SETTINGS) as buffer:
        buffer.add(make(99, "walkers"))
    assert folders(filled) == ["generation-000002"]


def test_readers_during_updates_always_find_a_complete_buffer(filled: Path, make: Callable[..., LatentSample]) -> None:
    failures: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                buffer = open_persistent(filled)
                assert len(clips(buffer)) == len(buffer) >= 40
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(6):
        with update_transaction(filled, SETTINGS) as buffer:
            for k in range(10):
                buffer.add(make(100 + 10 * n + k, license="MIT"))
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []


def test_a_second_writer_is_refused(filled: Path) -> None:
    with (
        update_transaction(filled),
        pytest.raises(UserError, match=r"holds .*\.writer; run this again"),
        update_transaction(filled),
    ):
        pass


def test_another_vae_or_no_buffer_is_an_error(filled: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another VAE"):
        open_persistent(filled, key="other")
    for refused in (
        lambda: open_persistent(tmp_path / "no"),
        lambda: remove_samples(tmp_path / "no", lambda entry: True),
    ):
        with pytest.raises(UserError, match="no replay buffer yet"):
            refused()


@pytest.mark.parametrize("damage", ["flipped", "short", "missing", "unknown", "settings", "manifest"])
def test_an_audit_names_what_is_wrong(filled: Path, damage: str) -> None:
    folder = filled / "generation-000000"
    segment = sorted(folder.glob("segment-*"))[0]
    content = bytearray(segment.read_bytes())
    match damage:
        case "flipped":
            content[-5] ^= 4
            segment.write_bytes(content)
            words = [segment.name, "sha256", "orbit-000"]
        case "short":
            segment.write_bytes(content[:-1])
            words = [segment.name, f"{len(content) - 1} bytes"]
        case "missing":
            segment.unlink()
            words = [segment.name, "missing"]
        case "unknown":
            (folder / "notes.txt").write_text("mine")
            words = ["notes.txt", "does not belong to this buffer"]
        case "settings":
            path = folder / "buffer.json"
            path.write_text(path.read_text().replace("40", "41"))
            words = ["buffer.json", "sha256"]
        case "manifest":
            path = folder / "manifest.json"
            path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
            words = ["manifest.json", "own digest"]
    (problem,) = audit(filled).problems
    assert all(word in problem for word in words), problem


ADD = """
import sys, torch
from pathlib import Path
from driveforge.datasets.latents.cache import LatentSample
from driveforge.replay.settings import BufferSettings
from driveforge.replay.persistent import update_transaction
with update_transaction(Path(sys.argv[1]), BufferSettings(capacity=300, key="vae")) as buffer:
    for n in range(1000):
        tensors = {"latents": torch.full((2, 3, 2, 2), float(n)), "present": torch.ones(4)}
        buffer.add(LatentSample(clip_id=f"orbit-{n:05d}", domain="orbit", caption=f"clip {n}", tensors=tensors))
        if n % 50 == 0:
            print(n, flush=True)
    print("ends", flush=True)
"""


def test_a_kill_in_the_middle_leaves_the_old_buffer_or_the_new(filled: Path, tmp_path: Path) -> None:
    old = open_persistent(filled).digest()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}

    def start(root: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", ADD, str(root)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    with update_transaction(tmp_path / "whole", BufferSettings(capacity=300, key="vae")) as buffer:
        for sample in (open_persistent(filled).sample(d, i) for d in ("falling", "orbit") for i in range(20)):
            buffer.add(sample)
    whole = start(tmp_path / "whole")
    whole.communicate()
    new = open_persistent(tmp_path / "whole").digest()
    for until, delay in (("500", 0.0), ("ends", 0.0), ("ends", 0.01)):
        process = start(filled)
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == until:
                break
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert open_persistent(filled).digest() in ((old, new) if until == "ends" else (old,))
        assert audit(filled).problems == ()
    start(filled).communicate()
    assert open_persistent(filled).digest() == new
    assert not (filled / ".next").exists()


MEASURE = """
import sys, torch
from pathlib import Path
from driveforge.datasets.latents.cache import LatentSample
from driveforge.replay.settings import BufferSettings
from driveforge.replay.persistent import update_transaction, open_persistent
root, count = Path(sys.argv[1]), int(sys.argv[2])
tensors = {"latents": torch.zeros(1, 1, 1, 2)}
with update_transaction(root, BufferSettings(capacity=2_000_000)) as buffer:
    for n in range(count):
        origin = {"place": "/footage", "license": "MIT", "added": "2026-01-01T00:00:00+00:00"}
        sample = LatentSample(clip_id=f"c{n}", domain=f"d{n % 3}", caption="", tensors=tensors, origin=origin)
        buffer.add(sample)
reader = open_persistent(root)
assert len(reader) == count
for n in range(0, count, max(1, count // 3000)):
    reader.sample("d0", n // 3)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_stays_flat_up_to_a_million_entries(tmp_path: Path) -> None:
    """Peak resident memory of a process that fills a buffer and reads from it, at 10^3 and at 10^6 entries."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    peaks = []
    for count in (10**3, 10**6):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / str(count)), str(count)]
        peaks.append(int(subprocess.check_output(command, env=environment, text=True)) / 1024)
    print(f"peak resident memory {peaks[0]:.0f} MiB at 10^3 entries, {peaks[1]:.0f} MiB at 10^6")
    assert peaks[1] - peaks[0] < 200


def test_files_of_the_user_are_never_removed(filled: Path, make: Callable[..., LatentSample]) -> None:
    theirs = [filled / "generation-2" / "notes.txt", filled / "generation-000000" / "notes.txt"]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    with update_transaction(filled, SETTINGS) as buffer:
        buffer.add(make(99, "walkers"))
    assert [path.read_text() for path in theirs] == ["mine", "mine"]
    assert [path.name for path in (filled / "generation-000000").iterdir()] == ["notes.txt"]
    assert audit(filled).problems == ()
    (filled / ".next").mkdir()
    (filled / ".next" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not changed"), update_transaction(filled):
        pass
    assert (filled / ".next" / "thesis.txt").read_text() == "mine"
