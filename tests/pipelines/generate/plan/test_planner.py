"""Plans: clip ids, balance, and memory that does not grow with the number of requests."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Scene
from driveforge.pipelines.generate.plan.hash_set import HashSet
from driveforge.pipelines.generate.plan.order import iter_pairs
from driveforge.pipelines.generate.plan.planner import plan_entries, plan_requests
from tests.pipelines.scenes import driving_scene
from tests.pipelines.small_plans import SETTINGS, stored_inputs

# Makes and reads a plan in its own process, and prints its peak memory in MiB before and after.
_BIG_PLAN = """
import json, sys, tempfile
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tests.benchmarks.plan_memory import make_and_read

peak = lambda: getrusage(RUSAGE_SELF).ru_maxrss / 1024
root = Path(tempfile.mkdtemp(dir=sys.argv[2]))
make_and_read(root / "small", 1000)
before = peak()
print(json.dumps([before, peak() if make_and_read(root / "big", int(sys.argv[1])) else 0, peak()]))
"""


def test_a_set_of_hashes_knows_what_was_added() -> None:
    known, names = HashSet(), [f"clip-{number}" for number in range(20_000)]
    assert all(known.add(name) for name in names) and len(known) == 20_000
    assert not any(known.add(name) for name in names) and len(known) == 20_000
    assert known.add("another")


@pytest.mark.slow
def test_clip_ids_never_repeat(tmp_path: Path) -> None:
    """Ids in clip ids are cut to 32 bits, so a few of so many would repeat; those requests get another seed."""
    settings = replace(SETTINGS, num_clips=200_000, edits=("dusk",))
    planned = [entry for entry, _ in plan_entries([driving_scene()], stored_inputs(tmp_path), settings, "m")]
    first_seeds = {int.from_bytes(sha256(f"5:{n}".encode()).digest()[:4], "big") >> 1 for n in range(200_000)}
    assert len({entry.clip_id for entry in planned}) == 200_000
    assert {entry.seed for entry in planned} - first_seeds, "the test must be large enough"


def test_the_id_that_a_clip_id_ends_in_is_that_of_the_request() -> None:
    for request in plan_requests([driving_scene()], lambda _: "f.npy", replace(SETTINGS, num_clips=4), "m"):
        name, _, digits = request.scene.clip_id.rpartition("-")
        assert replace(request, scene=replace(request.scene, clip_id=name)).id[:8] == digits


def fast_and_slow(num_slow: int) -> list[Scene]:
    slow = [driving_scene(f"slow-{i:02d}", speed=3.0, num_frames=17) for i in range(num_slow)]
    return [*slow, driving_scene("fast-00", speed=18.0, num_frames=17)]


def test_balanced_traits_get_equal_shares() -> None:
    scenes = fast_and_slow(9)
    for balance, expected in (((), (1, 9)), (("speed",), (10, 10))):
        settings = replace(SETTINGS, balance=balance, num_clips=sum(expected), edits=("as-recorded", "slower"))
        requests = plan_requests(scenes, lambda _: "f.npy", settings, "m")
        kinds = Counter(request.scene.clip_id[:4] for request in requests)
        assert (kinds["fast"], kinds["slow"]) == expected
    edits = Counter(request.edit for request in requests if request.scene.clip_id.startswith("fast"))
    assert edits == {"as-recorded": 5, "slower": 5}


def test_a_cell_without_an_applicable_edit_is_left_out() -> None:
    pairs = iter_pairs([[0, 1], [2]], 2, lambda scene, edit: "parked" if scene == 2 else "")
    assert [next(pairs) for _ in range(4)] == [(0, 0), (1, 1), (0, 1), (1, 0)]
    with pytest.raises(UserError, match="parked"):
        next(iter_pairs([[0], [1]], 3, lambda scene, edit: "parked"))


def test_scenes_that_are_refused_are_not_planned(tmp_path: Path) -> None:
    inputs = replace(stored_inputs(tmp_path), refusal=lambda scene: "seen" if scene.clip_id == "s-1" else "")
    planned = plan_entries([driving_scene(f"s-{i}") for i in range(3)], inputs, SETTINGS, "m")
    assert {edited.recorded for _, edited in planned} == {"s-0", "s-2"}


@pytest.mark.slow
def test_a_million_requests_take_the_memory_of_a_thousand(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _BIG_PLAN, "1000000", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, _, after = json.loads(done.stdout.splitlines()[-1])
    assert after - before < 120, f"{before:.0f} MiB before, {after:.0f} MiB after"
