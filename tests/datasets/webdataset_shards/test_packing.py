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
SETTINGS = export_settings(clips_per_shard=3, min_shards=4, license="CC-BY-4.0")


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


@pytest.mark.parametrize(("num_clips", "per_shard", "shards"), [(1, 64, 1), (3, 64, 3), (14, 64, 8), (14, 1, 14)])
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
    verdict = {"state": "accepted"}
    assert source.metadata("drive-5") == {
        "seed": 3, "verdict": verdict, "frame_hashes": "{}", "attempt": 1, "attempt_of": "",
    }  # fmt: skip
    before = {key: members for sample in samples for key, members in read_samples(sample.tar)}
    for tar in tmp_path.glob("*.tar"):
        for key, members in read_samples(tar):
            assert members.keys() == before[key].keys()
            for name in members.keys() - {"json"}:
                assert members[name].startswith(before[key][name])
                assert members[name] == before[key][name] or name == "cam_front.mp4"


def test_the_same_samples_in_any_order_give_the_same_bytes(samples: list[AcceptedSample], tmp_path: Path) -> None:
    pack_shards(samples, tmp_path / "a", SETTINGS, PROVENANCE)
    pack_shards(reversed(samples), tmp_path / "b", SETTINGS, PROVENANCE)
    first = content(tmp_path / "a")
    assert first == content(tmp_path / "b")
    pack_shards(samples, tmp_path / "a", SETTINGS, PROVENANCE)
    assert first == content(tmp_path / "a")


def test_an_older_export_is_replaced_and_other_files_are_kept(samples: list[AcceptedSample], tmp_path: Path) -> None:
    pack_shards(samples, tmp_path, SETTINGS, PROVENANCE)
    mine = {"notes.tar", "train-00000-0123abcd.tar", "thesis.tex"}
    for name in mine:
        (tmp_path / name).write_bytes(b"mine")
    index = pack_shards(samples[:4], tmp_path, SETTINGS, PROVENANCE)
    shards = {shard["name"] for shard in index["shards"]}
    assert {path.name for path in tmp_path.iterdir()} == shards | mine | {"index.json", *index["files"]}


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
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"index.json", *index["files"]}


def test_samples_that_cannot_be_exported_are_refused(samples: list[AcceptedSample], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no clip was accepted"):
        pack_shards([], tmp_path, SETTINGS, PROVENANCE)
    again = candidates(tmp_path / "again", small_clip("drive-3"))
    with pytest.raises(UserError, match=r"drive-3 is both in .* export only one"):
        pack_shards([*samples, *again], tmp_path, SETTINGS, PROVENANCE)
    (odd,) = candidates(tmp_path / "odd", small_clip("odd", split="Mini Train"))
    with pytest.raises(UserError, match="odd: split 'Mini Train'"):
        pack_shards([odd], tmp_path, SETTINGS, PROVENANCE)
    for name in ("clips_per_shard", "min_shards"):
        with pytest.raises(UserError, match=name):
            export_settings(**{name: 0})
    assert not (tmp_path / "index.json").exists()


def test_croissant_is_valid_and_names_every_shard_with_its_digest(
    samples: list[AcceptedSample], tmp_path: Path
) -> None:
    index = pack_shards(samples, tmp_path, SETTINGS, PROVENANCE)
    metadata = mlcroissant.Dataset(tmp_path / "croissant.json").metadata
    assert not metadata.ctx.issues.errors
    objects = {o.id: o.sha256 for o in metadata.distribution if isinstance(o, mlcroissant.FileObject)}
    documents = {"samples.parquet": index["files"]["samples.parquet"]["sha256"]}
    assert objects == documents | {shard["name"]: shard["sha256"] for shard in index["shards"]}


def test_each_shard_starts_with_a_clip_that_has_objects_while_there_are_some(tmp_path: Path) -> None:
    """Loaders infer types from the first samples, and an empty list has none."""
    clips = [small_clip(f"drive-{i}", seed=i) for i in range(9)]
    mixed = [clip if i in (2, 5) else clip.with_scene(tracks=()) for i, clip in enumerate(clips)]
    index = pack_shards(candidates(tmp_path / "c", *mixed), tmp_path / "out", SETTINGS, PROVENANCE)
    firsts = [shard["keys"][0] for shard in index["shards"]]
    assert len(firsts) == 4 and set(firsts[:2]) == {"drive-2", "drive-5"}
    assert sorted(key for shard in index["shards"] for key in shard["keys"]) == [f"drive-{i}" for i in range(9)]


def test_mlcroissant_iterates_samples_and_videos(samples: list[AcceptedSample], tmp_path: Path) -> None:
    pack_shards(samples, tmp_path / "out", SETTINGS, PROVENANCE)
    code = f"""
import json, mlcroissant
dataset = mlcroissant.Dataset(jsonld={str(tmp_path / "out" / "croissant.json")!r})
rows = {{row["samples/clip_id"].decode(): row for row in dataset.records("samples")}}
camera = "cam_front.mp4"
videos = {{row[f"{{camera}}/clip_id"].decode(): row[f"{{camera}}/content"] for row in dataset.records(camera)}}
row = rows["drive-5"]
print(json.dumps([sorted(rows), sorted(videos), row["samples/timestamps"], row["samples/weather"].decode(),
    row["samples/num_objects"], row["samples/shard"].decode(), videos["drive-5"][4:8].decode()]))
"""
    # The cache is that of the user otherwise, and its path is read at import.
    environment = os.environ | {"CROISSANT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    keys, videos, timestamps, weather, num_objects, shard, box = json.loads(done.stdout)
    assert keys == videos == sorted(sample.key for sample in samples)
    assert timestamps == small_clip("drive-5").scene.timestamps.tolist()
    assert (weather, num_objects, box) == ("dry", 2, "ftyp") and (tmp_path / "out" / shard).is_file()


def test_any_number_of_workers_reads_every_clip_once(samples: list[AcceptedSample], tmp_path: Path) -> None:
    """The example of the card with 0, 1 and 8 workers, on a split of five shards and on one of a single shard."""
    pack_shards(samples, tmp_path, SETTINGS, PROVENANCE)
    example = re.search(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)
    assert example is not None and "num_workers=0" in example[1] and '"train"' in example[1]
    code = f"""
example = {example[1]!r}
for split in ("train", "val"):
    for num_workers in (0, 1, 8):
        exec(example.replace("num_workers=0", f"num_workers={{num_workers}}").replace('"train"', f'"{{split}}"'))
        keys = [sample["__key__"] for sample in loader]
        print(len(keys), len(set(keys)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["14 14"] * 3 + ["1 1"] * 3, done.stderr


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
    assert '"poses.npy": array, "tracks.npz": arrays})' in card and "cam_front" not in card.split("## Loading")[1]
    assert 'shard["split"] == "all"' in card
