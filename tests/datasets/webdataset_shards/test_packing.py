import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mlcroissant
import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.data_card import Provenance
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.packing import AcceptedSample, pack_shards
from driveforge.datasets.webdataset_shards.source import ShardSource
from driveforge.datasets.webdataset_shards.tar_samples import read_samples, scan_tar
from driveforge.datasets.webdataset_shards.tarball import write_tar
from tests.datasets.small_clips import bare_clip, small_clip, smooth_frames
from tests.defaults import export_settings

PROVENANCE = Provenance(model="abc123", calibration="known-good", num_generated=20, rejected={"static_residual": 9})
SETTINGS = export_settings(clips_per_shard=3, license="CC-BY-4.0")


def candidates(folder: Path, *clips: Clip) -> list[AcceptedSample]:
    """Samples of candidate tars with two samples each."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for start in range(0, len(clips), 2):
        tar = folder / f"u-{start}.tar"
        write_tar(tar, [(c.scene.clip_id, clip_members(c, {"seed": 3})) for c in clips[start : start + 2]])
        for key, members in scan_tar(tar).items():
            metadata = {"verdict": {"state": "accepted"}}
            samples.append(AcceptedSample(tar=tar, key=key, members=members, metadata=metadata))
    return samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[AcceptedSample]:
    clips = [small_clip(f"drive-{i}", seed=i) for i in range(14)] + [small_clip("val-1", split="val")]
    return candidates(tmp_path_factory.mktemp("candidates"), *clips)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_are_even_within_a_split_and_hold_every_clip_once(samples: list[AcceptedSample], tmp_path: Path) -> None:
    index = pack_shards(samples, tmp_path, SETTINGS, PROVENANCE)
    assert index == json.loads((tmp_path / "index.json").read_bytes())
    counts = {split: [s["num_samples"] for s in index["shards"] if s["split"] == split] for split in ("train", "val")}
    assert counts == {"train": [3, 3, 3, 3, 2], "val": [1]}
    stored = [key for shard in index["shards"] for key, _ in read_samples(tmp_path / shard["name"])]
    assert sorted(stored) == sorted(sample.key for sample in samples)
    assert stored == [key for shard in index["shards"] for key in shard["keys"]]
    assert index["num_samples"] == 15 and index["splits"] == {"train": 14, "val": 1}


@pytest.mark.parametrize(("num_clips", "per_shard", "shards"), [(1, 64, 1), (3, 64, 3), (14, 64, 4), (14, 2, 7)])
def test_small_exports_still_have_a_shard_for_each_of_a_few_workers(
    samples: list[AcceptedSample], tmp_path: Path, num_clips: int, per_shard: int, shards: int
) -> None:
    index = pack_shards(samples[:num_clips], tmp_path, export_settings(clips_per_shard=per_shard), PROVENANCE)
    counts = [shard["num_samples"] for shard in index["shards"]]
    assert len(counts) == shards and sum(counts) == num_clips and max(counts) - min(counts) <= 1


def test_videos_and_arrays_are_copied_and_the_description_is_extended(
    samples: list[AcceptedSample], tmp_path: Path
) -> None:
    pack_shards(samples, tmp_path, SETTINGS, PROVENANCE)
    source = ShardSource(tmp_path)
    assert source.metadata("drive-5") == {"seed": 3, "verdict": {"state": "accepted"}}
    before = {key: members for sample in samples for key, members in read_samples(sample.tar)}
    for tar in tmp_path.glob("*.tar"):
        for key, members in read_samples(tar):
            assert {k: v for k, v in members.items() if k != "json"} == {
                k: v for k, v in before[key].items() if k != "json"
            }


def test_the_same_samples_in_any_order_give_the_same_bytes(samples: list[AcceptedSample], tmp_path: Path) -> None:
    pack_shards(samples, tmp_path / "a", SETTINGS, PROVENANCE)
    pack_shards(reversed(samples), tmp_path / "b", SETTINGS, PROVENANCE)
    first = content(tmp_path / "a")
    assert first == content(tmp_path / "b")
    pack_shards(samples, tmp_path / "a", SETTINGS, PROVENANCE)
    assert first == content(tmp_path / "a")


def test_an_older_export_is_replaced_and_other_files_are_kept(samples: list[AcceptedSample], tmp_path: Path) -> None:
    (tmp_path / "notes.tar").write_bytes(b"mine")
    pack_shards(samples, tmp_path, SETTINGS, PROVENANCE)
    index = pack_shards(samples[:4], tmp_path, SETTINGS, PROVENANCE)
    assert {path.name for path in tmp_path.glob("*.tar")} == {shard["name"] for shard in index["shards"]} | {
        "notes.tar"
    }


def test_a_failed_export_leaves_the_older_one_intact(samples: list[AcceptedSample], tmp_path: Path) -> None:
    index = pack_shards(samples[:8], tmp_path / "out", SETTINGS, PROVENANCE)
    (doomed,) = candidates(tmp_path / "doomed", small_clip("doomed"))
    whole = doomed.tar.read_bytes()
    doomed.tar.write_bytes(whole[: max(span.offset for span in doomed.members.values())])
    with pytest.raises(UserError, match="truncated"):
        pack_shards([*samples, doomed], tmp_path / "out", SETTINGS, PROVENANCE)
    assert json.loads((tmp_path / "out" / "index.json").read_bytes()) == index
    assert len(ShardSource(tmp_path / "out")) == 8
    doomed.tar.write_bytes(whole)
    index = pack_shards([*samples, doomed], tmp_path / "out", SETTINGS, PROVENANCE)
    names = {shard["name"] for shard in index["shards"]}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"index.json", "README.md", "croissant.json"}


def test_samples_that_cannot_be_exported_are_refused(samples: list[AcceptedSample], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no clip was accepted"):
        pack_shards([], tmp_path, SETTINGS, PROVENANCE)
    again = candidates(tmp_path / "again", small_clip("drive-3"))
    with pytest.raises(UserError, match=r"drive-3 is both in .* export only one"):
        pack_shards([*samples, *again], tmp_path, SETTINGS, PROVENANCE)
    (odd,) = candidates(tmp_path / "odd", small_clip("odd", split="Mini Train"))
    with pytest.raises(UserError, match="odd: split 'Mini Train'"):
        pack_shards([odd], tmp_path, SETTINGS, PROVENANCE)
    with pytest.raises(UserError, match="clips_per_shard"):
        export_settings(clips_per_shard=0)
    assert not (tmp_path / "index.json").exists()


def test_croissant_is_valid_and_names_every_shard_with_its_digest(
    samples: list[AcceptedSample], tmp_path: Path
) -> None:
    index = pack_shards(samples, tmp_path, SETTINGS, PROVENANCE)
    metadata = mlcroissant.Dataset(tmp_path / "croissant.json").metadata
    assert not metadata.ctx.issues.errors
    objects = {o.id: o.sha256 for o in metadata.distribution if isinstance(o, mlcroissant.FileObject)}
    assert objects == {shard["name"]: shard["sha256"] for shard in index["shards"]}


def test_the_card_states_counts_and_provenance(samples: list[AcceptedSample], tmp_path: Path) -> None:
    pack_shards(samples, tmp_path, SETTINGS, PROVENANCE)
    card = (tmp_path / "README.md").read_text()
    for words in (
        "| train | driving-day | 14 | 5 |",
        "| val | driving-day | 1 | 1 |",
        "| generated clips | 20 |",
        "| accepted clips | 15 |",
        "| rejected clips, by reason | 9 static_residual |",
        "`abc123`",
        "known-good",
        "CC-BY-4.0",
        "CAM_FRONT 80x48",
    ):
        assert words in card


PLAIN_READER = """
for sample in torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2):
    described, video = sample["json"], sample["cam_front.mp4"]
    camera = described["cameras"][0]
    poses, tracks = sample["poses.npy"], sample["tracks.npz"]
    assert video.shape == (described["num_frames"], camera["height"], camera["width"], 3)
    assert video.dtype == torch.uint8
    center = tracks["box_to_world"].numpy()[0, 4] @ [0, 0, 0, 1]
    camera_to_world = poses[4].numpy() @ np.array(camera["camera_to_ego"])[4]
    seen = np.array(camera["intrinsics"]) @ (np.linalg.inv(camera_to_world) @ center)[:3]
    print(described["clip_id"], tracks["ids"][0], *np.round(seen[:2] / seen[2], 6), int(video.numpy().mean()))
assert len(list(loader)) == 14
import sys
assert not {"datasets", "pipelines", "finetune", "replay", "validation"} & set(sys.modules)
"""


def test_the_example_of_the_card_reads_the_shards_without_driveforge(
    samples: list[AcceptedSample], tmp_path: Path
) -> None:
    pack_shards(samples, tmp_path, SETTINGS, PROVENANCE)
    example = re.search(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)
    assert example is not None
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", example[1] + PLAIN_READER]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert set(lines) == {f"drive-{i}" for i in range(14)}
    scene = small_clip("drive-5").scene
    camera = scene.cameras[0]
    point = np.linalg.inv(scene.camera_to_world(camera)[4]) @ scene.tracks[0].box_to_world[4] @ [0, 0, 0, 1]
    u, v = (np.asarray(camera.intrinsics) @ point[:3])[:2] / point[2]
    track, *numbers = lines["drive-5"].split()
    assert track == "a1"
    np.testing.assert_allclose([float(n) for n in numbers[:2]], [u, v], atol=1e-5)
    assert abs(float(numbers[2]) - smooth_frames(9, 48, 80, 5).mean()) < 3


def test_the_example_of_the_card_decodes_only_members_that_all_samples_have(tmp_path: Path) -> None:
    mixed = candidates(tmp_path / "c", bare_clip(), small_clip().with_scene(split=""))
    pack_shards(mixed, tmp_path / "out", SETTINGS, PROVENANCE)
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'map_dict(**{"json": json.loads, "tracks.npz": arrays})' in card
    assert 'shard["split"] == "all"' in card
