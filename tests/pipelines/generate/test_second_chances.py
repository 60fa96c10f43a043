"""Further attempts at requests of which no clip was accepted."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.stores.local import LocalStore
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.pipelines.generate.candidates import Candidate, iter_candidates
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.generate.second_chances import attempt_again, require_calibration_for_retries
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.units import GenerationPlan, read_plan
from driveforge.pipelines.generate.worker import candidate_metadata, commit_samples
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.verdict import judge
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.small_plans import NUM_FRAMES, SETTINGS, small_plan

GOOD, BAD = (some_measures(1, scale=scale)[0] for scale in (1.0, 30.0))
RETRIES = ("seed", "steps", "guidance")


def settings(*retries: str) -> GenerateSettings:
    return replace(SETTINGS, retries=retries)  # type: ignore[arg-type]


def make(root: Path, is_good: set[int], plan: GenerationPlan) -> None:
    """Commit black clips, whose measures are good for the attempts in ``is_good``, and for the scene ``scene-0``."""
    store, log = LocalStore(root), CommitLog(root)
    for unit in plan.units:
        if log.is_committed(unit.id):
            continue
        samples = []
        for request in unit.requests:
            scene = request.scene
            clip = Clip(
                scene=scene,
                frames=np.zeros((1, NUM_FRAMES, scene.cameras[0].height, scene.cameras[0].width, 3), np.uint8),
            )
            good = request.attempt in is_good or scene.clip_id.startswith("scene-0")
            measures = replace(GOOD if good else BAD, clip_id=scene.clip_id).to_json()
            samples.append(
                (scene.clip_id, clip_members(clip, candidate_metadata(request, clip) | {"measures": measures}))
            )
        commit_samples(store, unit.id, samples)


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.json"
    calibrate(some_measures(60, seed=1), name="by hand", false_reject_rate=0.05).save(path)
    return path


def by_attempt(root: Path) -> dict[int, list[Candidate]]:
    found: dict[int, list[Candidate]] = {}
    for candidate in iter_candidates(root):
        found.setdefault(candidate.metadata["attempt"], []).append(candidate)
    return found


def test_only_clips_that_were_not_accepted_get_further_attempts(tmp_path: Path, calibration: Path) -> None:
    root = tmp_path / "candidates"
    make(root, set(), small_plan(root))
    attempt_again(root, settings(*RETRIES), calibration, partial(make, root, {3}))
    attempts = by_attempt(root)
    # Of 12 clips, 8 are not of scene-0; their third attempt is good, so there is no fourth.
    assert Counter({number: len(found) for number, found in attempts.items()}) == {1: 12, 2: 8, 3: 8}
    firsts = {candidate.clip_id: candidate for candidate in attempts[1]}
    for candidate in attempts[2] + attempts[3]:
        first = firsts[candidate.metadata["attempt_of"]]
        assert not first.clip_id.startswith("scene-0")
        assert (
            candidate.metadata["edit"] == first.metadata["edit"]
            and candidate.metadata["seed"] != first.metadata["seed"]
        )
    assert len({candidate.clip_id for found in attempts.values() for candidate in found}) == 28
    assert len({candidate.metadata["seed"] for found in attempts.values() for candidate in found}) == 28


def test_every_attempt_changes_what_its_setting_says(tmp_path: Path, calibration: Path) -> None:
    root = tmp_path / "candidates"
    make(root, set(), small_plan(root))
    attempt_again(root, settings(*RETRIES), calibration, partial(make, root, set()))
    attempts = by_attempt(root)
    name = attempts[4][0].metadata["attempt_of"]
    chain = [c for found in attempts.values() for c in found if name in (c.clip_id, c.metadata["attempt_of"])]
    first, second, third, fourth = (c.metadata["settings"] for c in chain)
    assert second == first
    assert third == first | {"num_steps": 2 * first["num_steps"], "inpaint_steps": 2 * first["inpaint_steps"]}
    assert fourth == third | {"guidance_scale": 1 + 1.5 * (first["guidance_scale"] - 1)}


def test_an_interrupted_attempt_is_finished_with_its_own_plan(tmp_path: Path, calibration: Path) -> None:
    root, other = tmp_path / "candidates", tmp_path / "other"
    for folder in (root, other):
        make(folder, set(), small_plan(folder))
    attempt_again(other, settings("seed"), calibration, partial(make, other, set()))

    def killed(plan: GenerationPlan) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt_again(root, settings("seed"), calibration, killed)
    planned = read_plan(root)
    assert len(planned.part_digests) == 2 and planned.id == read_plan(other).id
    attempt_again(root, settings("seed"), calibration, partial(make, root, set()))
    attempt_again(root, settings("seed"), calibration, partial(make, root, set()))
    assert [c.clip_id for c in iter_candidates(root)] == [c.clip_id for c in iter_candidates(other)]


def test_limits_are_needed(tmp_path: Path) -> None:
    require_calibration_for_retries(settings(), tmp_path / "none.json")
    with pytest.raises(UserError, match=r"generate.retries=\['seed'\] needs limits.*run `driveforge calibrate` first"):
        require_calibration_for_retries(settings("seed"), tmp_path / "none.json")


def test_the_fixtures_are_judged_as_their_names_say(calibration: Path) -> None:
    limits = calibrate(some_measures(60, seed=1), name="by hand", false_reject_rate=0.05)
    assert (judge(GOOD, limits).state, judge(BAD, limits).state) == ("accepted", "rejected")
