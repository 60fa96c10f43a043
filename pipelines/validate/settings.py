"""Settings of measurement, calibration and the gate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.settings import Range
from driveforge.validation.instrument_settings import InstrumentSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateSettings(InstrumentSettings):
    """Settings of the measures and of the gate's calibration."""

    calibration: Annotated[
        Path | None, "a calibration file; null: <run_dir>/calibration.json (measure: none; judge: required)"
    ]
    false_reject_rate: Annotated[float, "share of good clips that the gate may reject", Range(0, 1)]
    num_clips: Annotated[int, "known-good clips for calibration", Range(1)]
    degrade: Annotated[bool, "degrade known-good clips like recordings; false if the data is a clean simulation"]
    num_corrupted: Annotated[int, "of these, clips to corrupt in every way, to count what is detected", Range(0)]
    force: Annotated[bool, "write limits even if they detect no error of a group of corruptions"]
    audit_share: Annotated[
        float, "share of accepted clips that reviewers judge blind, with as many others", Range(0, 1)
    ]
    audit_seed: Annotated[int, "seed of the choice of these clips"]
