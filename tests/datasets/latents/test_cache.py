import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from driveforge.datasets.errors import UserError
from driveforge.datasets.latents.cache import LatentCache, LatentCacheWriter, LatentSample, latent_key, write_latents

REPOSITORY = Path(__file__).parents[3]


def make_sample(number: int, domain: str = "driving-day", dtype: torch.dtype = torch.float32) -> LatentSample:
    return LatentSample(
        clip_id=f"clip-{number:03d}",
        domain=domain,
        caption=f"clip {number}, \N{SNOWFLAKE}\nwet",
        tensors={
            "latents": torch.arange(24, dtype=dtype).view(2, 3, 2, 2) + 100 * number,
            "rays": torch.full((6, 3, 2, 2), number / 7),
            "present": torch.tensor([1.0, 0.0, float(number % 2)]),
            "cell_weight": torch.ones(3),
            "number": torch.tensor(number),
        },
    )


def is_same(a: LatentSample, b: LatentSample) -> bool:
    return (
        a.entry == b.entry
        and a.tensor_specs == b.tensor_specs
        and all(torch.equal(a.tensors[n], b.tensors[n]) for n in a.tensors)
    )


def files(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "key").iterdir())}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 4, 5, 8])
def test_samples_survive(tmp_path: Path, count: int, dtype: torch.dtype) -> None:
    samples = [make_sample(n, "orbit" if n % 3 == 0 else "driving-rain", dtype) for n in range(count)]
    cache = write_latents(tmp_path, "key", samples, shard_size=4)
    assert len(cache) == count
    assert cache.clip_ids == tuple(sample.clip_id for sample in samples)
    assert cache.domains == tuple(sample.domain for sample in samples)
    assert cache.indices("orbit") == tuple(range(0, count, 3))
    assert cache.indices("falling") == ()
    assert all(is_same(cache.sample(i), samples[i]) for i in range(count))
    assert is_same(cache.sample(-1), samples[-1])
    with pytest.raises(IndexError):
        cache.sample(count)


def test_an_empty_cache_is_valid(tmp_path: Path) -> None:
    assert len(write_latents(tmp_path, "key", [])) == 0


def test_the_key_depends_on_source_transform_and_vae() -> None:
    key = latent_key("nuscenes v1.0-mini", {"height": 96, "width": 160}, "abc")
    assert re.fullmatch(r"[0-9a-f]{16}", key)
    assert key == latent_key("nuscenes v1.0-mini", {"width": 160, "height": 96}, "abc")
    others = {
        latent_key("nuscenes v1.0-trainval", {"height": 96, "width": 160}, "abc"),
        latent_key("nuscenes v1.0-mini", {"height": 96, "width": 161}, "abc"),
        latent_key("nuscenes v1.0-mini", {"height": 96, "width": 160}, "abd"),
    }
    assert len(others | {key}) == 4


@settings(max_examples=25, deadline=None)
@given(stops=st.lists(st.integers(0, 14), max_size=4), clean=st.booleans())
def test_interrupted_writing_gives_the_same_bytes(stops: list[int], clean: bool) -> None:
    samples = [make_sample(n) for n in range(14)]
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        write_latents(whole, "key", samples, shard_size=4)
        for stop in stops:
            try:
                write_latents(parts, "key", samples[:stop], shard_size=4)
                with LatentCacheWriter(parts, "key", shard_size=4) as writer:
                    for sample in samples[:stop]:
                        if sample.clip_id not in writer.stored:
                            writer.add(sample)
                    if not clean:
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                pass
        write_latents(parts, "key", samples, shard_size=4)
        assert files(parts) == files(whole)


def test_complete_shards_are_not_written_again(tmp_path: Path) -> None:
    write_latents(tmp_path, "key", [make_sample(n) for n in range(6)], shard_size=3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "key").glob("shard-*")}
    with LatentCacheWriter(tmp_path, "key", shard_size=3) as writer:
        assert writer.stored == {make_sample(n).clip_id for n in range(6)}
        writer.add(make_sample(6))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(LatentCache(tmp_path, "key")) == 7


def test_a_finished_cache_without_new_samples_is_not_written_again(tmp_path: Path) -> None:
    """Several processes can open it at the same time."""
    samples = [make_sample(n) for n in range(4)]
    write_latents(tmp_path, "key", samples, shard_size=3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "key").iterdir()}
    write_latents(tmp_path, "key", samples, shard_size=3)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "key").iterdir()} == before


def test_after_an_exception_samples_are_kept_and_the_cache_is_unfinished(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), LatentCacheWriter(tmp_path, "key") as writer:
        writer.add(make_sample(0))
        raise RuntimeError("out of memory")
    with pytest.raises(UserError, match="unfinished"):
        LatentCache(tmp_path, "key")
    assert LatentCacheWriter(tmp_path, "key").stored == {"clip-000"}


WRITE = """
import sys, torch
from pathlib import Path
from driveforge.datasets.latents.cache import LatentSample, LatentCacheWriter
with LatentCacheWriter(Path(sys.argv[1]), "key", shard_size=3) as writer:
    for n in range(400):
        if f"{n}" not in writer.stored:
            tensors = {"latents": torch.full((4, 5), float(n))}
            writer.add(LatentSample(clip_id=f"{n}", domain="orbit", caption="", tensors=tensors))
            print(n, flush=True)
    sys.stdin.read()
"""


def test_writing_survives_sigkill(tmp_path: Path) -> None:
    for last in (40, 130):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(tmp_path / "killed")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= last:
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        with pytest.raises(UserError, match="unfinished"):
            LatentCache(tmp_path / "killed", "key")
        assert len(LatentCacheWriter(tmp_path / "killed", "key", shard_size=3).stored) >= last - 2
    again = [
        LatentSample(clip_id=f"{n}", domain="orbit", caption="", tensors={"latents": torch.full((4, 5), float(n))})
        for n in range(400)
    ]
    resumed = write_latents(tmp_path / "killed", "key", again, shard_size=3)
    whole = write_latents(tmp_path / "whole", "key", again, shard_size=3)
    assert resumed.clip_ids == whole.clip_ids == tuple(f"{n}" for n in range(400))
    assert {name: files(tmp_path / "killed")[name] for name in files(tmp_path / "whole")} == files(tmp_path / "whole")


def test_another_key_reads_no_stale_latents(tmp_path: Path) -> None:
    write_latents(tmp_path, "aaaa", [make_sample(0)])
    with pytest.raises(UserError, match=f"bbbb in {tmp_path}.*aaaa.*another source, transform or VAE"):
        LatentCache(tmp_path, "bbbb")
    with pytest.raises(UserError, match="driveforge cache"):
        LatentCache(tmp_path / "nowhere", "aaaa")
    (tmp_path / "aaaa").rename(tmp_path / "cccc")
    with pytest.raises(UserError, match=f"{tmp_path}/cccc.*its key is aaaa, expected cccc"):
        LatentCache(tmp_path, "cccc")


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}'])
def test_an_invalid_index_is_named(tmp_path: Path, content: str) -> None:
    write_latents(tmp_path, "key", [make_sample(0)])
    (tmp_path / "key" / "index.json").write_text(content)
    with pytest.raises(UserError, match=r"index\.json"):
        LatentCache(tmp_path, "key")


@pytest.mark.parametrize("kept", [0, 1])
def test_an_index_that_lacks_a_shard_is_refused(tmp_path: Path, kept: int) -> None:
    write_latents(tmp_path, "key", [make_sample(0), make_sample(1)], shard_size=1)
    path = tmp_path / "key" / "index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"shards": index["shards"][:kept]}))
    with pytest.raises(UserError, match=rf"index\.json: lists {kept} of 2 shards"):
        LatentCache(tmp_path, "key")


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.unlink()])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    cache = write_latents(tmp_path, "key", [make_sample(0)])
    damage(tmp_path / "key" / "shard-00000.safetensors")
    with pytest.raises(UserError, match="shard-00000"):
        cache.sample(0)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "no tensors"),
        ({"latents": torch.zeros(3, 3)}, r"differ.*\(3, 3\)"),
        ({"latents": torch.zeros(2, 3, dtype=torch.float16)}, "float16"),
        ({"latents": torch.zeros(2, 3), "rays": torch.zeros(1)}, "rays"),
        ({"latents": torch.tensor([[0.0, float("inf"), 0], [0, 0, 0]])}, "latents holds NaN or infinite"),
    ],
)
def test_an_invalid_clip_is_named_and_the_others_are_kept(
    tmp_path: Path, tensors: dict[str, torch.Tensor], message: str
) -> None:
    good = LatentSample(clip_id="good", domain="orbit", caption="", tensors={"latents": torch.zeros(2, 3)})
    with LatentCacheWriter(tmp_path, "key") as writer:
        writer.add(good)
        with pytest.raises(UserError, match=f"clip bad.*{message}"):
            writer.add(LatentSample(clip_id="bad", domain="orbit", caption="", tensors=tensors))
        with pytest.raises(UserError, match=r"good.*already"):
            writer.add(good)
    assert LatentCache(tmp_path, "key").clip_ids == ("good",)


def test_shapes_and_dtypes_are_checked_after_a_resume(tmp_path: Path) -> None:
    write_latents(tmp_path, "key", [make_sample(n) for n in range(2)], shard_size=2)
    with pytest.raises(UserError, match="differ"):
        write_latents(tmp_path, "key", [make_sample(2, dtype=torch.float16)], shard_size=2)


def test_shards_open_with_plain_safetensors(tmp_path: Path) -> None:
    write_latents(tmp_path, "key", [make_sample(n) for n in range(3)])
    with safe_open(tmp_path / "key" / "shard-00000.safetensors", framework="np") as shard:
        assert shard.get_slice("latents").get_shape() == [3, 2, 3, 2, 2]
        assert shard.get_tensor("number").tolist() == [0, 1, 2]


def test_a_pickled_cache_reads_the_same(tmp_path: Path) -> None:
    cache = write_latents(tmp_path, "key", [make_sample(n) for n in range(3)])
    cache.sample(0)
    copy = pickle.loads(pickle.dumps(cache))
    assert all(is_same(copy.sample(i), cache.sample(i)) for i in range(3))


MEASURE = """
import re, sys
from pathlib import Path
from driveforge.datasets.latents.cache import LatentCache
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
cache = LatentCache(Path(sys.argv[1]), "key")
cache.sample(0).tensors["latents"].sum()
before = anonymous()
total = sum(float(cache.sample(i).tensors["latents"].sum()) for i in range(len(cache)))
print(anonymous() - before, total)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc/self/status")
def test_reading_does_not_load_the_cache_into_memory(tmp_path: Path) -> None:
    """60 MB are read, and the anonymous memory of the process grows by less than 6 MB."""
    write_latents(
        tmp_path,
        "key",
        (LatentSample(clip_id=str(n), domain="orbit", caption="", tensors={"latents": torch.ones(500_000)})
         for n in range(30)),
        shard_size=4,
    )  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        check=True, text=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    grown, total = result.stdout.split()
    assert float(total) == 15_000_000
    assert int(grown) < 6_000
