"""The commands and the Python of the README work."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from driveforge.pipelines.cli import main
from driveforge.pipelines.commands.catalog import COMMANDS
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.candidates import iter_candidates
from driveforge.pipelines.generate.command import generate_candidates
from driveforge.pipelines.simulate import simulate, tables_root
from tests.faults.small_run import make_run

REPOSITORY = Path(__file__).parents[1]
SMALL = [
    "finetune.steps=2",
    "finetune.batch_size=2",
    "generate.num_clips=2",
    "generate.clips_per_unit=1",
    "generate.sampler.num_steps=1",
    "generate.edits=[as-recorded]",
    "validate.num_clips=29",
    "validate.num_corrupted=0",
    "validate.false_reject_rate=0.05",
    "data.stride=5",
    "executor.workers=1",
]


def commands() -> Iterator[list[str]]:
    """Every ``driveforge`` command of the README's shell blocks, as words; split at ``&&``, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    for line in "\n".join(blocks).splitlines():
        for command in line.split("#")[0].split("&&"):
            words = shlex.split(command)
            if words and words[0] == "driveforge":
                yield words[1:]


def test_the_readme_shows_most_commands() -> None:
    assert len({words[0] for words in commands()}) >= 8


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_readme_is_valid(words: list[str]) -> None:
    command = next(command for command in COMMANDS if command.name == words[0])
    compose([*command.presets, *(word for word in words[1:] if "=" in word)])


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "demo")
    block = python_blocks()[0]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert len(result.stdout.splitlines()) >= 2


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)


def test_the_generator_of_the_readme_generates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its file in the current directory, as the README says, with small clips."""
    monkeypatch.chdir(tmp_path)
    Path("my_model.py").write_text(python_blocks()[1])
    (command,) = (words for words in commands() if "model.generator=my_model:MyModel" in words)
    small = ["data.num_scenes=3", "data.num_frames=5", "data.height=32", "data.width=48", "generate.num_clips=3"]
    summary = generate_candidates(compose([*command[1:], *small, "generate.edits=[as-recorded, dusk]"]))
    assert summary.failed == {}
    made = list(iter_candidates(Path("runs/mine/candidates")))
    assert [candidate.metadata["model"] for candidate in made] == ["my-model-1.0"] * 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    overrides = ["simulate=demo", "simulate.num_scenes=5", "simulate.seconds=4", "simulate.replay_clips=4"]
    config = compose(overrides)
    simulate(config.simulate, out, config.data.framing)
    return out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_stages_of_the_readme_run(world: Path, tmp_path: Path) -> None:
    data = ["data=nuscenes", f"data.root={tables_root(world)}", f"replay.root={world / 'replay'}"]
    settings = [*data, *SMALL, f"run_dir={tmp_path / 'run'}"]
    assert main(["finetune", "replay.share=0.4", *settings]) == 0
    assert main(["generate", "executor=ray", *settings]) == 0
    assert main(["calibrate", *settings]) == 0
    assert main(["gate", *settings]) == 0
    assert main(["measure", str(world / "replay"), "--out", str(tmp_path / "measures.parquet")]) == 0
    assert (tmp_path / "measures.parquet").is_file()
