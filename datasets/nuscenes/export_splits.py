"""``splits.json`` of exports: every synthetic scene is in the split of the recording that it was generated from."""

from collections.abc import Iterable, Mapping

DEFAULT_SPLIT = "train"
_PREFIX = "synthetic_"
# The splits of nuScenes that are part of a larger one.
_LARGER = {"mini_train": "train", "train_detect": "train", "train_track": "train", "mini_val": "val"}


def trainer_split(split: str) -> str:
    """The split that trainers read for a clip of ``split``; clips without one train.

    A clip without a split is from a recording that nothing holds out, for example a video.
    """
    return _LARGER.get(split, split) or DEFAULT_SPLIT


def export_splits(
    synthetic: Iterable[tuple[str, str]],
    real: Iterable[tuple[str, str]] = (),
    custom: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, list[str]]:
    """The content of ``splits.json``: scene names by split, from pairs of scene name and split.

    ``real`` are the scenes of a merged root, without those of no split, and ``custom`` is its ``splits.json``, which is
    kept. Synthetic scenes are also in ``synthetic_<split>``, because for a name that it knows, such as ``train``, the
    devkit's ``get_scenes_of_split`` gives the official scenes and does not read the file.
    """
    splits = {name: list(scenes) for name, scenes in (custom or {}).items()}
    named = [(name, trainer_split(split)) for name, split in synthetic]
    pairs = [(split, name) for name, split in named] + [(f"{_PREFIX}{split}", name) for name, split in named]
    pairs += [(trainer_split(split), name) for name, split in real if split]
    for split in dict.fromkeys(split for split, _ in pairs):
        members = [name for other, name in pairs if other == split]
        splits[split] = list(dict.fromkeys([*splits.get(split, []), *sorted(members)]))
    return splits
