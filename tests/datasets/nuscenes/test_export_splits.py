from driveforge.datasets.nuscenes.export_splits import export_splits, trainer_split


def test_a_scene_is_in_the_split_of_its_recording() -> None:
    scenes = [("b", "train"), ("a", "train"), ("c", "mini_val"), ("d", ""), ("e", "test"), ("f", "fleet-2")]
    assert export_splits(scenes) == {
        "train": ["a", "b", "d"],
        "val": ["c"],
        "test": ["e"],
        "fleet-2": ["f"],
        "synthetic_train": ["a", "b", "d"],
        "synthetic_val": ["c"],
        "synthetic_test": ["e"],
        "synthetic_fleet-2": ["f"],
    }


def test_the_halves_and_the_mini_part_of_a_split_are_that_split() -> None:
    assert [trainer_split(s) for s in ("mini_train", "train_detect", "train_track", "mini_val")] == [
        "train", "train", "train", "val",
    ]  # fmt: skip


def test_the_splits_of_a_real_root_are_kept_and_extended() -> None:
    custom = {"train": ("scene-0001", "scene-0002"), "night": ("scene-0002",)}
    real = [("scene-0001", "train"), ("scene-0002", "train"), ("scene-0003", "val"), ("scene-0004", "")]
    splits = export_splits([("s", "train")], real, custom)
    assert splits["train"] == ["scene-0001", "scene-0002", "s"]
    assert splits["val"] == ["scene-0003"] and splits["night"] == ["scene-0002"]
    assert splits["synthetic_train"] == ["s"]
    assert not any("scene-0004" in names for names in splits.values())
