"""Run the trials of the validator study and write its report."""

import hashlib
from dataclasses import replace
from pathlib import Path

import driveforge
from driveforge.pipelines.console import print_result
from driveforge.pipelines.studies.validator.calibration_size import calibration_size_section
from driveforge.pipelines.studies.validator.clips import CONDITIONS, GoodClip
from driveforge.pipelines.studies.validator.detector import detector_section
from driveforge.pipelines.studies.validator.generated import generated_section
from driveforge.pipelines.studies.validator.real import real_section
from driveforge.pipelines.studies.validator.report import write_report
from driveforge.pipelines.studies.validator.results import evaluate
from driveforge.pipelines.studies.validator.settings import ValidatorStudy
from driveforge.pipelines.studies.validator.single_measures import (
    CAMERA_FAMILIES,
    SINGLE_CAMERA_FAMILIES,
    evaluate_measures,
    measures_section,
)
from driveforge.pipelines.studies.validator.trials import Case, run_cases
from driveforge.validation.corruptions.catalog import CORRUPTIONS

FRONT = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT")
# Three cameras take three times as long.
FRONT_ROWS = 128
CAMERA_CORRUPTIONS = tuple(
    corruption_type for corruption_type, corruption in CORRUPTIONS.items() if corruption.group == "cameras"
)
SINGLE_CAMERA_CORRUPTIONS = tuple(
    corruption_type for corruption_type in CORRUPTIONS if corruption_type not in CAMERA_CORRUPTIONS
)
# Code that only evaluates measures: changing it does not invalidate trials.
CALIBRATION_FILES = (
    "calibration.py",
    "cross_conformal.py",
    "detection_power.py",
    "guarantee.py",
    "nonconformity.py",
    "tail_model.py",
    "verdict.py",
)
# Clips of different parts never share a number, so no scene is in two parts.
AUDIT_FROM, CORRUPTED_FROM, FRONT_FROM = 100_000, 200_000, 300_000
# Baselines are slower than our measures, and their ranking does not depend on the third digit.
AUDITED_FOR_BASELINES, CORRUPTED_FOR_BASELINES = 100, 6


def study_validator(settings: ValidatorStudy, page: Path) -> None:
    """Run the study and write its report to ``page``; finished trials are read from ``<run_dir>``."""
    ledgers = settings.run_dir / f"validator-{measures_digest()}"
    trials = {rows: run_cases(make_cases(settings, rows), ledgers / f"{rows}.jsonl") for rows in settings.rows}
    results = [evaluate(f"{rows} rows", trials_of_size, settings.num_good) for rows, trials_of_size in trials.items()]
    front_trials = run_cases(make_front_cases(settings, FRONT_ROWS), ledgers / f"{FRONT_ROWS}-front.jsonl")
    front = evaluate(f"three cameras, {FRONT_ROWS} rows", front_trials, settings.num_front_cameras)
    largest_trials = trials[max(settings.rows)]
    limits = results[settings.rows.index(max(settings.rows))].calibration
    measures = [
        *evaluate_measures(largest_trials, settings.num_good, limits, SINGLE_CAMERA_FAMILIES),
        *evaluate_measures(front_trials, settings.num_front_cameras, front.calibration, CAMERA_FAMILIES),
    ]
    sections = {
        "What each measure detects": measures_section(f"{max(settings.rows)} rows (cameras: {front.title})", measures),
        "Calibration size": calibration_size_section(largest_trials, settings.num_draws, settings.seed),
        "Labeled generator output": generated_section(settings.seed),
        "Objects found by a detector": detector_section(settings.seed),
    }
    if settings.real:
        good = [trial.measures for trial in largest_trials if not trial.corruption_type][: settings.num_good]
        sections["Real footage"] = real_section(settings.real, good)
    write_report(page, results, front, sections)
    print_result(page)


def measures_digest() -> str:
    """8 hex digits of a hash of the code and weights that measure and corrupt: trials of others are not reused."""
    root = Path(driveforge.__file__).parent / "validation"
    digest = hashlib.sha256()
    files = [*root.rglob("*.py"), *root.rglob("*.safetensors")]
    for path in sorted(path for path in files if path.name not in CALIBRATION_FILES):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]


def make_cases(settings: ValidatorStudy, rows: int) -> list[Case]:
    """Clips to calibrate on, clips to audit, and ordinary clips with every corruption of a single camera."""
    first = GoodClip(number=0, rows=rows, seed=settings.seed)
    return _cases(first, SINGLE_CAMERA_CORRUPTIONS, settings.num_good, settings.num_audit, settings.num_corrupted)


def make_front_cases(settings: ValidatorStudy, rows: int) -> list[Case]:
    """The same for three overlapping cameras, with the corruptions that require several cameras."""
    first = GoodClip(number=FRONT_FROM, rows=rows, seed=settings.seed, cameras=FRONT)
    return _cases(
        first,
        CAMERA_CORRUPTIONS,
        settings.num_front_cameras,
        settings.num_front_cameras // 4,
        settings.num_corrupted // 3,
    )


def _cases(
    first: GoodClip, corruption_types: tuple[str, ...], num_good: int, num_audit: int, num_corrupted: int
) -> list[Case]:
    def good(number: int) -> GoodClip:
        return replace(first, number=first.number + number)

    to_calibrate = [Case(good=good(n)) for n in range(num_good)]
    to_audit = [Case(good=good(AUDIT_FROM + n), with_baselines=n < AUDITED_FOR_BASELINES) for n in range(num_audit)]
    corrupted = [
        Case(
            good=good(CORRUPTED_FROM + n), corruption_types=corruption_types, with_baselines=i < CORRUPTED_FOR_BASELINES
        )
        for i, n in enumerate(_usual_numbers(num_corrupted))
    ]
    return [*to_calibrate, *to_audit, *corrupted]


def _usual_numbers(count: int) -> list[int]:
    usual = CONDITIONS.count("usual")
    return [len(CONDITIONS) * (n // usual) + n % usual for n in range(count)]
