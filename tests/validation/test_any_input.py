"""For any input, the validator returns measures and a verdict, or a one-line error that names the problem.

All 500 inputs take some minutes: ``python -m pytest --no-cov -m slow tests/validation/test_any_input.py``
"""

import json
import math
import os
import re
import time
import warnings
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.folder_source import write_clip_folder
from driveforge.datasets.scene import Clip
from driveforge.datasets.video import encode_mp4
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.inputs.items import list_clips
from driveforge.pipelines.validate.measure import MeasureResult, main, measure_item
from driveforge.validation.calibration import Calibration
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures
from driveforge.validation.verdict import Verdict, judge
from tests.validation.mutations.files import Input, write_inputs
from tests.validation.mutations.mutants import EVERY, Mutant, mutants
from tests.validation.street import street
from tests.validation.test_verdict import limits_around

SEED = 0
NUM_CLIPS, NUM_INPUTS = 300, 200
MAX_SECONDS = 60.0  # for one input, on a busy machine
MAX_GROWTH_MIB = 100.0
# The slowest inputs; only the slow test includes them.
_LONG = {"1,000 boxes", "a camera four times", "12000 x 7", "checks", "7 x 12000", "frozen under noise"}
_CRASH = re.compile(r"\w+(Error|Warning|Exception|Exit): ")


@pytest.fixture(scope="module")
def good() -> Clip:
    return street(height=64, width=96, num_frames=9)


@pytest.fixture(scope="module")
def limits(good: Clip) -> Calibration:
    """Limits that accept the good clip, but not twice its values."""
    measures = measure(good)
    calibration = limits_around(measures)
    assert judge(measures, calibration).state == "accepted"
    return calibration


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def judged(measures: Measures, limits: Calibration) -> Verdict:
    """The verdict on measures, which must survive JSON."""
    assert all(m.value is None or math.isfinite(m.value) for m in measures.values)
    assert all(bool(m.reason) == (m.value is None) for m in measures.values)
    json.dumps(measures.to_json(), allow_nan=False)
    return judge(measures, limits)


def is_clear(message: str) -> bool:
    return bool(message) and len(message.splitlines()) <= 2 and len(message) < 600 and not _CRASH.match(message)


def check_clip(mutant: Mutant, limits: Calibration) -> str:
    """The verdict, or ``refused``."""
    if mutant.clip is None:
        assert is_clear(mutant.refusal), (mutant.name, mutant.refusal)
        return "refused"
    verdict = judged(measure(mutant.clip), limits)
    assert not (mutant.is_garbage and verdict.state == "accepted"), mutant.name
    return verdict.state


def check_input(one: Input, results: list[MeasureResult], limits: Calibration) -> None:
    assert results, f"{one.name}: silently skipped"
    for result in results:
        if result.measures is not None:
            judged(result.measures, limits)
        else:
            assert is_clear(result.error), (one.name, result.error)
            assert one.folder.name in result.error and one.key in result.error, (one.name, result.error)
    if one.is_harmless:
        assert any(result.measures is not None for result in results), (one.name, results[0].error)


def results_of(root: Path) -> Iterator[tuple[str, MeasureResult]]:
    """The results of ``driveforge measure`` for every clip under ``root``, with its folder in ``root``."""
    for item in list_clips(root):
        path = item.arguments[0]
        assert isinstance(path, Path)
        yield path.relative_to(root).parts[0], measure_item(item)


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def test_every_mutated_clip_gets_a_verdict_or_an_error(
    good: Clip, limits: Calibration, capfd: pytest.CaptureFixture[str]
) -> None:
    quick = (m for name, m in zip(EVERY, mutants(good, SEED), strict=False) if name not in _LONG)
    states = {mutant.name: check_clip(mutant, limits) for mutant in quick}
    assert set(states.values()) == {"accepted", "rejected", "unmeasured", "refused"}
    assert states["the world a million meters away"] == "accepted"
    assert capfd.readouterr().err == ""


def test_every_bad_file_is_reported_and_does_not_affect_others(
    good: Clip, limits: Calibration, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = write_inputs(tmp_path, good, SEED, 95)
    results: dict[str, list[MeasureResult]] = defaultdict(list)
    for folder, result in results_of(tmp_path):
        results[folder].append(result)
    for one in inputs:
        check_input(one, results[one.folder.name], limits)
    assert capfd.readouterr().err == ""


def test_a_clip_that_cannot_be_held_in_memory_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driveforge.datasets.folder_source.MAX_PIXEL_BYTES", 9 * 64 * 96 * 3)
    for frames in (9, 10):
        (tmp_path / f"{frames}.mp4").write_bytes(encode_mp4(np.zeros((frames, 64, 96, 3), np.uint8), 10.0))
    ten, nine = (measure_item(item) for item in list_clips(tmp_path))
    assert nine.measures is not None and ten.measures is None
    assert re.search(r"10\.mp4: 10 frames of 96x64 .* cut the video", ten.error)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_hundred_inputs_take_bounded_time_and_memory(good: Clip, limits: Calibration, tmp_path: Path) -> None:
    started, sizes, too_slow = time.monotonic(), [], []

    def done(name: str) -> None:
        nonlocal started
        now = time.monotonic()
        too_slow.extend([(name, now - started)] if now - started > MAX_SECONDS else [])
        started = now
        sizes.append(resident_mib())

    for mutant in islice(mutants(good, SEED), NUM_CLIPS):
        check_clip(mutant, limits)
        done(mutant.name)
    inputs = write_inputs(tmp_path, good, SEED, NUM_INPUTS)
    results: dict[str, list[MeasureResult]] = defaultdict(list)
    started = time.monotonic()
    for folder, result in results_of(tmp_path):
        results[folder].append(result)
        done(folder)
    for one in inputs:
        check_input(one, results[one.folder.name], limits)
    assert not too_slow
    # By then every kind of clip was measured once, so that caches of libraries are filled.
    assert sizes[-1] - sizes[len(EVERY)] < MAX_GROWTH_MIB, (sizes[0], sizes[len(EVERY)], sizes[-1])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_frames_are_one_clip_and_measured_as_such(limits: Calibration, tmp_path: Path) -> None:
    """Its pixels are in memory as a whole (55 MB here), and at most a few times as much in addition."""
    before = resident_mib()
    small = street(height=32, width=56, num_frames=25)
    there_and_back = [*range(25), *range(23, 0, -1)]
    frames = small.frames[0][np.resize(there_and_back, 10_000)]
    (tmp_path / "long.mp4").write_bytes(encode_mp4(frames, 10.0))
    (item,) = list_clips(tmp_path)
    result = measure_item(item)
    assert result.measures is not None
    assert judged(result.measures, limits).state in ("rejected", "unmeasured")
    assert resident_mib() - before < 500


def test_a_clip_folder_needs_a_video(good: Clip, tmp_path: Path) -> None:
    """A description without its video is reported and not skipped."""
    folder = write_clip_folder(tmp_path, good)
    next(folder.glob("*.mp4")).unlink()
    (item,) = list_clips(tmp_path)
    assert "no such video" in measure_item(item).error


def test_a_file_with_an_undecodable_name_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"no video")
    config = compose([f"run_dir={tmp_path}"])
    assert main(config, Namespace(path=tmp_path, out=None, pictures=None)) == 1
    assert re.search(r"^caf\?: .*caf\?\.mp4: cannot be read as video", capsys.readouterr().out, re.MULTILINE)


def test_a_bad_shard_is_reported_sample_by_sample(good: Clip, tmp_path: Path) -> None:
    members = clip_members(good, {})
    tracks = members["tracks.npz"]
    nonsense = {
        "cameras": {"json": members["json"].replace(b'"cameras":[', b'"cameras":3,"lanes":[')},
        "depth": {"json": b"[" * 100_000},
        "tracks": {"tracks.npz": tracks[:200] + bytes(100) + tracks[300:]},
        "cut": {"tracks.npz": tracks[:-30]},
        "array": {"poses.npy": tracks},
    }
    samples = [(key, members | changed) for key, changed in nonsense.items()]
    write_tar(tmp_path / "shard.tar", [("good", members), *samples])
    first, *others = (measure_item(item) for item in list_clips(tmp_path))
    assert first.measures is not None and len(others) == len(nonsense)
    for key, result in zip(nonsense, others, strict=True):
        assert is_clear(result.error) and result.error.startswith(f"shard.tar/{key}: "), result.error
