"""The example that trains a detector on exported shards."""

import re
import subprocess
import sys
from pathlib import Path

from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from tests.datasets.small_clips import moving_mount, small_clip, small_scene

SCRIPT = Path(__file__).parents[1] / "examples" / "train_detector.py"


def write_shards(folder: Path, clips: list[Clip]) -> None:
    for clip in clips:
        write_tar(folder / f"{clip.scene.clip_id}.tar", [(clip.scene.clip_id, clip_members(clip, {}))])


def train(folder: Path, steps: int) -> str:
    command = [sys.executable, str(SCRIPT), str(folder), str(steps)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def test_the_loss_falls_and_the_objects_are_found(tmp_path: Path) -> None:
    moving = Clip(scene=moving_mount(small_scene("moving")), frames=small_clip(seed=3).frames)
    write_shards(tmp_path, [small_clip("a-1", seed=1), small_clip("a-2", seed=2), moving])
    out = train(tmp_path, 40)
    losses = [float(loss) for loss in re.findall(r"^step \d+ loss (\S+)$", out, re.MULTILINE)]
    assert len(losses) == 2 and losses[1] < 0.5 * losses[0]
    recall = re.search(r"recall of centers (\S+), at (\S+)%", out)
    assert recall is not None and float(recall[1]) > 0.5 and float(recall[2]) < 30


def test_it_needs_no_driveforge() -> None:
    imported = re.findall(r"^(?:import|from) (\w+)", SCRIPT.read_text(), re.MULTILINE)
    assert set(imported) - set(sys.stdlib_module_names) == {"av", "numpy", "torch", "webdataset"}
