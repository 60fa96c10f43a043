"""Generator classes of a user: imported from the current directory, checked, gated and exported."""

import json
from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.cli import main
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.candidates import Candidate, iter_candidates
from driveforge.pipelines.generate.command import GenerationSummary, generate_candidates
from driveforge.pipelines.generate.select import describe_codec, load_codec, select_generator
from driveforge.pipelines.registry.models import BASE, resolve_start_checkpoint
from driveforge.validation.cross_conformal import calibrate
from tests.defaults import sampler_settings
from tests.pipelines.generators import FakeGenerator
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.scenes import driving_scene

CLASSES = "tests.pipelines.own_generators"
# Clips too short to measure, so that each takes milliseconds.
SMALL = [
    "data.num_scenes=3",
    "data.num_frames=5",
    "data.height=32",
    "data.width=48",
    "data.domains=[driving-day]",
    "run_dir=run",
    "generate.edits=[as-recorded, dusk]",
    "generate.num_clips=4",
    "generate.clips_per_unit=1",
]
MODULE = '''
import numpy as np

from driveforge.datasets.scene import Clip


class Gray:
    """A gray clip; its digest is known when it is loaded."""

    def __init__(self, folder, device):
        self.digest = f"gray-{'none' if folder is None else folder.name}"

    def generate(self, scene, first_frames, *, seed, settings):
        camera = scene.cameras[0]
        return Clip(scene=scene, frames=np.full((1, scene.num_frames, camera.height, camera.width, 3), 99, np.uint8))


class Needy(Gray):
    def __init__(self, folder, device, weights):
        self.weights = weights
'''


@pytest.fixture(autouse=True)
def current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def generate(generator: str, *overrides: str) -> GenerationSummary:
    return generate_candidates(compose([*SMALL, f"model.generator={generator}", *overrides]))


def candidates() -> list[Candidate]:
    return list(iter_candidates(Path("run/candidates")))


def refusal(generator: str, *overrides: str) -> str:
    """The error of a generation that is refused before anything is committed, without its start."""
    with pytest.raises(UserError) as caught:
        generate(generator, *overrides)
    line = str(caught.value)
    assert "\n" not in line and not list(Path("run").glob("candidates/_commits/*"))
    assert line.startswith(f"model.generator={generator}")
    return line.removeprefix(f"model.generator={generator}").strip()


def test_clips_of_a_class_are_gated_and_exported() -> None:
    assert main(["generate", f"model.generator={CLASSES}:Own", *SMALL]) == 0
    assert {candidate.metadata["model"] for candidate in candidates()} == {"own-1.0"}
    assert candidates()[0].load().frames.shape == (1, 5, 32, 48, 3)
    calibrate(some_measures(60), name="by hand").save(Path("run/calibration.json"))
    word = {"verdict": "accept", "reviewer": "anna", "reason": "looks fine"}
    Path("run/overrides.json").write_text(json.dumps({candidates()[0].clip_id: word}))
    for command in ("gate", "export", "verify"):
        assert main([command, "run_dir=run"]) == 0
    assert "own-1.0" in Path("run/shards/README.md").read_text()


def test_the_codec_of_a_class_is_optional() -> None:
    """Calibration passes clips through it, and says so in its name."""
    clip = FakeGenerator().generate(driving_scene(), None, seed=0, settings=sampler_settings())
    for name, described, changes in (("Own", "", False), ("OwnOfFolder", "the model no-weights", True)):
        selected = select_generator(compose([f"model.generator={CLASSES}:{name}"]))
        assert describe_codec(selected) == described
        passed = load_codec(selected).reconstruct(clip)
        assert np.array_equal(passed.frames, clip.frames) != changes
    broken = load_codec(select_generator(compose([f"model.generator={CLASSES}:ArrayCodec"])))
    with pytest.raises(
        UserError, match=r"ArrayCodec: reconstruct: scene-1: must return a driveforge\.Clip, got ndarray"
    ):
        broken.reconstruct(clip)


def test_a_class_gets_the_path_of_the_checkpoint_and_is_read_before_anything_is_planned() -> None:
    name = f"{CLASSES}:OwnOfFolder"
    Path("weights.bin").write_text("7")
    generate(name, "model.checkpoint=weights.bin")
    assert {candidate.metadata["model"] for candidate in candidates()} == {"weights-7"}
    Path("weights.bin").write_text("8")
    with pytest.raises(UserError, match="holds another plan"):
        generate(name, "model.checkpoint=weights.bin")
    with pytest.raises(UserError, match="=missing does not exist"):
        generate(name, "model.checkpoint=missing")
    for checkpoint, folder in (("base", None), ("champion-or-base", BASE)):
        selected = select_generator(compose([f"model.generator={name}", f"model.checkpoint={checkpoint}"]))
        assert selected.folder == folder


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_workers_import_a_module_of_the_current_directory(executor: str) -> None:
    Path(f"gray_of_{executor}.py").write_text(MODULE)
    assert generate(f"gray_of_{executor}:Gray", f"executor={executor}", "executor.workers=1").failed == {}
    assert {candidate.metadata["model"] for candidate in candidates()} == {"gray-none"}
    assert np.abs(candidates()[0].load().frames.astype(int) - 99).max() < 5


def test_a_class_that_cannot_be_imported_is_one_line() -> None:
    Path("needy.py").write_text(MODULE)
    Path("broken.py").write_text("import math\nimport no_such_library\n")
    Path("unfinished.py").write_text("x = (\n")
    here = Path.cwd()
    for name, reason in {
        "needy": "must be package.module:Class",
        "needy.py:Gray": f": no module 'needy.py' in {here} or among the installed packages",
        "no_such.module:Gray": f": no module 'no_such' in {here} or among the installed packages",
        "needy:Grey": f": {here}/needy.py has no class Grey; did you mean Gray?",
        "needy:np": f": {here}/needy.py has no class np; there are Gray, Needy",
        "broken:X": "cannot be imported: ModuleNotFoundError: No module named 'no_such_library' (broken.py:2)",
        "unfinished:X": "cannot be imported: SyntaxError: '(' was never closed (unfinished.py, line 1)",
        "needy:Needy": ": missing a required argument: 'weights'; it must have __init__(self, folder, device) and "
        "generate(self, scene, first_frames, *, seed, settings)",
        f"{CLASSES}:NoGenerate": ": the class has no method generate(scene, first_frames, *, seed, settings)",
    }.items():
        assert refusal(name).startswith(reason)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Unloadable", "cannot be loaded: RuntimeError: the service does not answer (own_generators.py:"),
        (
            "BadDigest",
            "digest must identify the weights by 1 to 64 of the characters A-Z, a-z, 0-9, '.', '_' and '-', ",
        ),
        ("Floats", "frames must be uint8 (1, 5, 32, 48, 3), got float32 (1, 5, 32, 48, 3)"),
        ("TooFewFrames", "frames must be uint8 (1, 5, 32, 48, 3), got uint8 (1, 3, 32, 48, 3)"),
        ("Array", "must return a driveforge.Clip, got ndarray"),
        ("Random", "two calls of generate with the same arguments differ in"),
    ],
)
def test_a_class_that_breaks_its_contract_ends_the_run_at_the_first_clip(name: str, reason: str) -> None:
    line = refusal(f"{CLASSES}:{name}")
    assert reason in line
    assert name in ("Unloadable", "BadDigest") or "driving-day" in line, "it names the clip"


def test_a_class_may_say_that_it_cannot_repeat_a_clip() -> None:
    assert generate(f"{CLASSES}:Service").num_committed == 4


def test_a_class_is_not_fine_tuned() -> None:
    with pytest.raises(UserError, match="Own cannot be fine-tuned: unset it, or use generate"):
        resolve_start_checkpoint(compose([f"model.generator={CLASSES}:Own"]))
