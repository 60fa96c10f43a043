"""The section of the validator study about objects that a detector finds."""

from driveforge.pipelines.studies.validator.detector import DetectorTrial, section


def trial(corruption_type: str, level: str, value: float, all_seconds: float | None = None) -> DetectorTrial:
    return DetectorTrial(
        rows=256,
        corruption_type=corruption_type,
        level=level,
        values={"object_uncommanded": value, "object_undetected": 0.5},
        seconds=0.25,
        all_seconds=all_seconds,
    )


def test_every_corruption_has_its_auroc_and_every_size_its_time() -> None:
    good = [trial("", "", 0.1 * n, 2.0) for n in range(5)]
    bad = [trial("uncommanded-moving", "strong", value) for value in (0.05, 0.45, 0.9)]
    page = section([*good, *bad])
    # 0.05 exceeds one of five good values, the others all of them.
    assert "| uncommanded-moving, 100 % of frames | 3 | 0.733 | 0.500 |" in page
    assert "| 256 rows | 0.25 | 2.00 |" in page
