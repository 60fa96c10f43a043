"""The labeled clips of the present generators: complete, labeled by the standard, and split into halves."""

import csv
from collections import Counter

import numpy as np
import pytest

from driveforge.datasets.webdataset_shards.format import clip_from_members, scene_from_members
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.pipelines.inputs.items import list_clips
from driveforge.pipelines.studies.validator.generated import FOLDER, HALVES

SEVERITIES = {"fine": (0,), "borderline": (1,), "broken": (2, 3)}


def _rows(half: str) -> list[dict[str, str]]:
    with (FOLDER / f"labels-{half}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _groups(half: str) -> dict[str, str]:
    samples = read_samples(FOLDER / f"{half}.tar")
    return {key: scene_from_members(members, key)[1]["group"] for key, members in samples}


@pytest.mark.parametrize("half", HALVES)
def test_every_clip_is_labeled_once_by_the_standard(half: str) -> None:
    rows = _rows(half)
    assert [row["clip"] for row in rows] == list(_groups(half))
    for row in rows:
        assert int(row["severity"]) in SEVERITIES[row["label"]], row
        assert row["where"] in ("object", "region", "whole") if row["what"] else row["label"] == "fine", row
        second = row["second_pass"] or row["second_rater"]
        assert row["label"] == row["first_pass"] or row["first_pass"] != second, row


@pytest.mark.parametrize("half", HALVES)
def test_clips_decode_at_their_size(half: str) -> None:
    for key, members in list(read_samples(FOLDER / f"{half}.tar"))[::15]:
        clip, metadata = clip_from_members(members, key)
        num_frames = 17 if metadata["num_segments"] == 1 else 41
        assert clip.frames.shape == (1, num_frames, 96, 160, 3)
        assert np.ptp(clip.frames) > 50, "not blank"


def test_the_halves_are_disjoint_and_have_the_same_groups() -> None:
    design, sealed = (_groups(half) for half in HALVES)
    assert not design.keys() & sealed.keys()
    assert set(design.values()) == set(sealed.values())
    assert 0.9 < len(design) / len(sealed) < 1.1
    for half in HALVES:
        broken = Counter(row["label"] == "broken" for row in _rows(half))
        assert min(broken[True], broken[False]) >= 20, broken


def test_measure_finds_all_labeled_clips() -> None:
    assert len(list_clips(FOLDER)) == sum(len(_rows(half)) for half in HALVES) >= 300
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 24e6, "a clone stays small"
