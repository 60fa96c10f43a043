"""Instruments of a configuration are loaded where clips are measured; missing ones are an error before any work."""

from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.candidates import iter_candidates
from driveforge.pipelines.generate.command import generate
from driveforge.pipelines.inputs.instruments import load_instruments
from driveforge.pipelines.studies.detector.study import SIMULATED_DETECTOR
from driveforge.pipelines.validate.calibrate import KnownGoodClip, measure_known_good
from driveforge.pipelines.validate.measure import main as measure_main
from driveforge.pipelines.validate.settings import ValidateSettings
from driveforge.validation.artifact_weights import ARTIFACT_WEIGHTS
from driveforge.validation.instruments import DEFAULT_INSTRUMENTS
from tests.pipelines.generators import FakeGenerator
from tests.pipelines.small_plans import executor, small_plan


class NoMotionNetwork(torch.nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.eye(4).repeat(frames.shape[0], 1, 1)


def validate(*overrides: str) -> ValidateSettings:
    return compose([f"validate.{override}" for override in overrides]).validate


@pytest.fixture
def settings_with_network(tmp_path: Path) -> ValidateSettings:
    path = tmp_path / "network.pt"
    torch.jit.script(NoMotionNetwork()).save(str(path))  # type: ignore[no-untyped-call]
    return validate(f"pose_network={path}")


def test_the_default_instruments_need_no_files() -> None:
    assert load_instruments(validate()) == DEFAULT_INSTRUMENTS


def test_learned_measures_can_be_turned_off() -> None:
    assert load_instruments(validate("learned=false")).artifact_weights is None
    assert load_instruments(validate("learned=true")).artifact_weights == ARTIFACT_WEIGHTS


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tracker=cotracker"], "needs validate.tracker_weights=FILE"),
        (["tracker=cotracker", "tracker_weights=absent.pth"], "no weights of CoTracker3 at this path"),
        (["tracker_weights=some.pth"], "lucas_kanade needs none"),
        (["pose_network=absent.pt"], "no TorchScript file at this path"),
        (["detector=absent.onnx"], "no ONNX file at this path"),
        (["detector_labels=[2]"], "there is no detector"),
    ],
)
def test_missing_weights_are_an_error(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_instruments(validate(*overrides))


def test_a_detector_is_loaded_with_its_labels() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    loaded = {
        labels: load_instruments(validate(f"detector={SIMULATED_DETECTOR}", f"detector_labels={labels}")).detector
        for labels in ("[]", "[0]", "[5]")
    }
    found = {labels: len(detector(image).scores) for labels, detector in loaded.items() if detector}
    assert found["[]"] >= found["[0]"] >= found["[5]"] == 0 < found["[]"]


def test_missing_weights_are_reported_once_not_for_every_clip(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    config = compose(["validate.pose_network=absent.pt", f"run_dir={tmp_path / 'run'}"])
    with pytest.raises(UserError, match="no TorchScript file at this path"):
        measure_main(config, Namespace(path=tmp_path, out=None, pictures=None))
    assert not (tmp_path / "run").exists()


def test_candidates_are_measured_with_the_configured_instruments(
    tmp_path: Path, settings_with_network: ValidateSettings
) -> None:
    root = tmp_path / "candidates"
    generate(
        root,
        small_plan(root, num_frames=6),
        FakeGenerator,
        executor(),
        partial(load_instruments, settings_with_network),
    )
    for candidate in iter_candidates(root):
        assert candidate.measures["pose_network_rotation"].value is not None


def test_known_good_clips_are_measured_with_the_configured_instruments(settings_with_network: ValidateSettings) -> None:
    data = compose(["data.num_scenes=1", "data.num_frames=5", "data.domains=[driving-day]"]).data
    good = [KnownGoodClip(data=data, number=0)]
    ((_, measures),) = measure_known_good(good, FakeGenerator, partial(load_instruments, settings_with_network))
    assert measures["pose_network_rotation"].value is not None
