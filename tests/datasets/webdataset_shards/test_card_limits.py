from driveforge.datasets.webdataset_shards.card_limits import SampleLimits, leaks_section, unmeasured_section

COPIED = {"near_duplicates": {"compared": True, "share": 0.5}, "from_evaluation_split": True}
NEW = {"near_duplicates": {"compared": True, "share": 0.0}}


def limits(*metadata: dict[str, object]) -> list[SampleLimits]:
    return [SampleLimits.from_metadata(one) for one in metadata]


def test_near_duplicates_and_evaluation_clips_are_counted() -> None:
    section = leaks_section(limits(COPIED, NEW, {}))
    assert "| compared with recorded frames | 2 of 3 |" in section
    assert "| with a near-duplicate of a recorded frame | 1 of 2 |" in section
    assert "| near-duplicates among the generated frames, mean | 25.0 % |" in section
    assert "| from scenes of an evaluation split | 1 of 3 |" in section


def test_nothing_compared_is_not_called_zero() -> None:
    assert "not compared" in leaks_section(limits({}, {}))


def test_unmeasured_measures_are_counted_by_reason() -> None:
    values = [
        {"name": "pose_yaw", "value": 1.0, "reason": ""},
        *({"name": f"person_{n}", "value": None, "reason": "no boxes in view"} for n in "abcdef"),
    ]
    section = unmeasured_section(limits({"measures": {"values": values}}, {}))
    assert "| no boxes in view | 1 of 2 | `person_a`, `person_b`, `person_c`, `person_d` and 2 more |" in section
    assert "pose_yaw" not in section
    assert unmeasured_section(limits({})) == "Every measure had a value in every clip."
