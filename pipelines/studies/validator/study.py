"""Makes the trials of the validator study and writes its page."""

import hashlib
from dataclasses import replace
from pathlib import Path

import driveforge
from driveforge.pipelines.console import show
from driveforge.pipelines.studies.validator.clips import CONDITIONS, GoodClip
from driveforge.pipelines.studies.validator.generated import generated_section
from driveforge.pipelines.studies.validator.real import real_section
from driveforge.pipelines.studies.validator.report import write_report
from driveforge.pipelines.studies.validator.results import evaluate
from driveforge.pipelines.studies.validator.settings import ValidatorStudy
from driveforge.pipelines.studies.validator.trials import Case, run_cases
from driveforge.validation.corruptions.catalogue import CORRUPTIONS

FRONT = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT")
# Three cameras take three times as long.
FRONT_ROWS = 128
OF_CAMERAS = tuple(kind for kind, about in CORRUPTIONS.items() if about.group == "cameras")
OF_ONE_CAMERA = tuple(kind for kind in CORRUPTIONS if kind not in OF_CAMERAS)
# What is made of measures afterwards changes no trial.
JUDGING = (
    "calibration.py",
    "cross_conformal.py",
    "guarantee.py",
    "nonconformity.py",
    "tail_model.py",
    "verdict.py",
)
# Clips of different parts never share a number, so no scene is on both sides.
AUDIT_FROM, SPOILT_FROM, FRONT_FROM = 100_000, 200_000, 300_000
# Peers take longer than we do, and their place does not hang on a third digit.
AUDITED_FOR_PEERS, SPOILT_FOR_PEERS = 100, 6


def study_validator(settings: ValidatorStudy, page: Path) -> None:
    """Trials that an earlier call has made are taken from ``<run_dir>``."""
    ledgers = settings.run_dir / f"validator-{digest_of_measures()}"
    trials = {rows: run_cases(cases_of(settings, rows), ledgers / f"{rows}.jsonl") for rows in settings.rows}
    results = [evaluate(f"{rows} rows", of_size, settings.num_good) for rows, of_size in trials.items()]
    of_front = run_cases(cases_of_front(settings, FRONT_ROWS), ledgers / f"{FRONT_ROWS}-front.jsonl")
    front = evaluate(f"three cameras, {FRONT_ROWS} rows", of_front, settings.num_front)
    good = [trial.measures for trial in trials[max(settings.rows)] if not trial.kind][: settings.num_good]
    sections = {"Real generator output, labelled by eye": generated_section(settings.seed)}
    if settings.real:
        sections["Real footage"] = real_section(settings.real, good)
    write_report(page, results, front, sections)
    show(page)


def digest_of_measures() -> str:
    """8 hex digits over the code that measures and spoils: trials of other code are not taken for this one's."""
    root = Path(driveforge.__file__).parent / "validation"
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*.py") if path.name not in JUDGING):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]


def cases_of(settings: ValidatorStudy, rows: int) -> list[Case]:
    """Clips to calibrate on, clips to audit, and ordinary clips spoilt in every way."""
    first = GoodClip(number=0, rows=rows, seed=settings.seed)
    return _cases(first, OF_ONE_CAMERA, settings.num_good, settings.num_audit, settings.num_spoilt)


def cases_of_front(settings: ValidatorStudy, rows: int) -> list[Case]:
    """The same of three cameras that overlap, spoilt in the ways that need several."""
    first = GoodClip(number=FRONT_FROM, rows=rows, seed=settings.seed, cameras=FRONT)
    return _cases(first, OF_CAMERAS, settings.num_front, settings.num_front // 4, settings.num_spoilt // 3)


def _cases(first: GoodClip, kinds: tuple[str, ...], num_good: int, num_audit: int, num_spoilt: int) -> list[Case]:
    def good(number: int) -> GoodClip:
        return replace(first, number=first.number + number)

    to_calibrate = [Case(good=good(n)) for n in range(num_good)]
    to_audit = [Case(good=good(AUDIT_FROM + n), with_peers=n < AUDITED_FOR_PEERS) for n in range(num_audit)]
    spoilt = [
        Case(good=good(SPOILT_FROM + n), kinds=kinds, with_peers=i < SPOILT_FOR_PEERS)
        for i, n in enumerate(_ordinary(num_spoilt))
    ]
    return [*to_calibrate, *to_audit, *spoilt]


def _ordinary(count: int) -> list[int]:
    usual = CONDITIONS.count("usual")
    return [len(CONDITIONS) * (n // usual) + n % usual for n in range(count)]
