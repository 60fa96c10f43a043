"""A synthetic root merged with a real one opens as one data set, and the real one is not written to."""

import json
import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from nuscenes.nuscenes import NuScenes

from driveforge.datasets.errors import UserError
from driveforge.datasets.nuscenes.merge import link_files, merge_tables
from driveforge.datasets.nuscenes.real_root import RealRoot, check_scene_names, open_real_root
from driveforge.datasets.nuscenes.writer import TABLES
from tests.datasets.nuscenes.test_writer import digests
from tests.datasets.nuscenes.world import VERSION, edit_table, small_scene, write_world


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A root with other tokens for its categories, attributes and sensors, and a map folder."""
    root = write_world(tmp_path / "real", small_scene("real-1"))
    renamed = {
        row["token"]: f"{table}-{number}"
        for table in ("category", "attribute", "sensor")
        for number, row in enumerate(json.loads((root / VERSION / f"{table}.json").read_text()))
    }
    for table in TABLES:
        path = root / VERSION / f"{table}.json"
        text = path.read_text().replace('"vehicle": "driveforge"', '"vehicle": "n015"')
        for old, new in renamed.items():
            text = text.replace(old, new)
        path.write_text(text)
    edit_table(root, "category", lambda rows: rows.remove(next(r for r in rows if r["name"] == "animal")))
    (root / "maps" / "expansion").mkdir()
    (root / "maps" / "expansion" / "boston-seaport.json").write_text("{}")
    return root


def merge(root: RealRoot, out: Path) -> tuple[NuScenes, Counter[str]]:
    files = merge_tables(root, out / VERSION)
    counts = Counter(link_files(root.root, out, files))
    return NuScenes(VERSION, str(out), verbose=False), counts


def test_both_data_sets_open_as_one(real: Path, tmp_path: Path) -> None:
    before = digests(real)
    out = write_world(tmp_path / "out", small_scene("synthetic-1"))
    nusc, counts = merge(open_real_root(real), out)
    assert digests(real) == before
    assert [scene["name"] for scene in nusc.scene] == ["real-1", "synthetic-1"]
    assert [log["vehicle"] for log in nusc.log] == ["n015", "driveforge"]
    for table, key in (("category", "name"), ("attribute", "name"), ("sensor", "channel"), ("visibility", "level")):
        names = [row[key] for row in getattr(nusc, table)]
        assert len(names) == len(set(names)), f"{table} is doubled"
    assert nusc.category[0]["token"] == "category-0" and nusc.category[-1]["name"] == "animal"
    assert Counter(row["category_name"] for row in nusc.sample_annotation) == Counter(
        {"vehicle.car": 6, "vehicle.truck": 6, "human.pedestrian.adult": 2}
    )
    first, last = nusc.sample_annotation[0], nusc.sample_annotation[-1]
    assert {token.split("-")[0] for token in first["attribute_tokens"] + last["attribute_tokens"]} == {"attribute"}
    for row in nusc.sample_data:
        assert (out / row["filename"]).is_file()
    linked = out / "maps" / "expansion" / "boston-seaport.json"
    assert linked.samefile(real / "maps" / "expansion" / "boston-seaport.json")
    assert set(counts) == {"hard links"} and counts["hard links"] == len(digests(real)) - len(TABLES)


def test_files_on_another_file_system_are_linked_symbolically(real: Path, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm")
    with TemporaryDirectory(dir=memory) as folder:
        out = write_world(Path(folder), small_scene("synthetic-1"))
        nusc, counts = merge(open_real_root(real), out)
        assert set(counts) == {"symbolic links"}
        path = out / nusc.sample_data[0]["filename"]
        assert path.is_symlink() and path.readlink() == (real / nusc.sample_data[0]["filename"]).resolve()


def test_symbolic_links_of_the_real_root_are_followed(real: Path, tmp_path: Path) -> None:
    image = next((real / "samples" / "CAM_FRONT").iterdir())
    image.rename(real / "elsewhere.jpg")
    image.symlink_to("../../elsewhere.jpg")
    out = write_world(tmp_path / "out", small_scene("synthetic-1"))
    assert merge(open_real_root(real), out)[1]["symbolic links"] == 1
    assert (out / "samples" / "CAM_FRONT" / image.name).samefile(real / "elsewhere.jpg")


def test_files_that_the_real_root_lacks_are_counted(real: Path, tmp_path: Path) -> None:
    shutil.rmtree(real / "sweeps")
    out = write_world(tmp_path / "out", small_scene("synthetic-1"))
    assert merge(open_real_root(real), out)[1]["missing"] == 16


def test_clashes_are_refused(real: Path, tmp_path: Path) -> None:
    root = open_real_root(real)
    with pytest.raises(UserError, match=r"scene\.json has a scene real-1 already"):
        check_scene_names(root, ["other", "real-1"])
    out = write_world(tmp_path / "out", small_scene("synthetic-1"))
    taken = json.loads((out / VERSION / "sample.json").read_text())[0]["token"]
    edit_table(real, "sample", lambda rows: rows[0].update(token=taken))
    with pytest.raises(UserError, match=rf"sample\.json: token {taken} is that of a synthetic row"):
        merge_tables(root, out / VERSION)


def test_a_wrong_root_is_told(real: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder; give the dataroot"):
        open_real_root(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"neither v1.0-trainval nor v1.0-mini; it has no folder with a scene\.json"):
        open_real_root(tmp_path)
    with pytest.raises(UserError, match=rf"is a folder of tables; give the dataroot that contains it: {real}"):
        open_real_root(real / VERSION)
    path = real / VERSION / "ego_pose.json"
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    with pytest.raises(UserError, match=r"ego_pose\.json is damaged or truncated"):
        open_real_root(real)
    path.unlink()
    with pytest.raises(UserError, match=r"ego_pose\.json is missing"):
        open_real_root(real)


def test_trainval_is_preferred_and_another_version_is_found(real: Path) -> None:
    assert open_real_root(real).version == "v1.0-mini"
    shutil.copytree(real / VERSION, real / "v1.0-trainval")
    assert open_real_root(real).version == "v1.0-trainval"
    shutil.rmtree(real / VERSION)
    (real / "v1.0-trainval").rename(real / "v2-fleet")
    assert open_real_root(real).version == "v2-fleet"
