"""The benchmarks of the estimate and of training 1.3B run, at small sizes."""

import re
from pathlib import Path

import pytest

from driveforge.pipelines.train.estimate.plan import estimate_training
from tests.benchmarks import train_1p3b
from tests.benchmarks.estimate_error import CASES, clip_size, make_case_setup, run_case, write_configuration


def test_training_is_timed_at_a_small_size(capsys: pytest.CaptureFixture[str]) -> None:
    train_1p3b.main(["--small", "--steps", "1"])
    printed = capsys.readouterr().out
    assert re.search(r"s a step of 72 tokens: \d+ tokens/s", printed)
    assert re.search(r"peak \d+\.\d\d GiB, estimate \d+\.\d\d GiB", printed)


@pytest.mark.slow
def test_measured_memory_is_within_15_percent(tmp_path: Path) -> None:
    case = CASES[1]
    folder = write_configuration(tmp_path, case)
    estimated = estimate_training(folder, clip_size(case), make_case_setup(case)).memory.total
    assert estimated == pytest.approx(run_case(folder, 1), rel=0.15)
