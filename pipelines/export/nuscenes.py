"""The format ``nuscenes``: accepted clips as nuScenes tables, alone or merged with a real data set."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Sized
from functools import partial
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic_folder import SCRATCH_MARKER, atomic_folder
from driveforge.datasets.nuscenes.export_card import (
    CARD_FILE,
    EXPORT_FILE,
    ExportedScene,
    NuScenesCard,
    export_card,
    export_record,
    read_export_record,
)
from driveforge.datasets.nuscenes.export_splits import export_splits
from driveforge.datasets.nuscenes.merge import link_files, merge_tables
from driveforge.datasets.nuscenes.real_root import RealRoot, check_scene_names, open_real_root
from driveforge.datasets.nuscenes.synthetic import WrittenClip, map_translation, write_sample
from driveforge.datasets.nuscenes.writer import NuScenesWriter
from driveforge.datasets.progress import show_status, track
from driveforge.datasets.webdataset_shards.packing import AcceptedSample
from driveforge.datasets.webdataset_shards.settings import ExportSettings
from driveforge.pipelines.export.accepted import accepted_samples, provenance
from driveforge.pipelines.export.accepted_clips import print_skipped
from driveforge.pipelines.export.summary import ExportSummary
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import read_verdicts

# Trainers assert one of v1.0-trainval, v1.0-test and v1.0-mini.
VERSION = "v1.0-trainval"
_FOLDERS = ("samples", "sweeps", "maps", "can_bus")


def export_nuscenes(run: RunDir, settings: ExportSettings) -> ExportSummary:
    """Write the accepted clips to ``run.nuscenes``, which replaces an earlier export of this format.

    Raises UserError if nothing can be exported, or if ``settings.merge`` is not a nuScenes root.
    """
    verdicts = read_verdicts(run.verdicts)
    accepted = [row["clip_id"] for row in verdicts if row["state"] == "accepted"]
    if not accepted:
        raise UserError("no clip was accepted, so there is nothing to export; see the reasons of the rejections")
    real = open_merged_root(run, settings, accepted)
    version = real.version if real else VERSION
    with atomic_folder(run.nuscenes, is_replaceable=_is_export) as root:
        samples = accepted_samples(verdicts, run.candidates, allow_evaluation_split=settings.allow_evaluation_split)
        scenes, skipped = _write_clips(samples, root, version)
        links = _merge(real, root) if real else ""
        _write_splits(scenes, real, root / version)
        card = NuScenesCard(
            name=settings.name,
            license=settings.license or "",
            version=version,
            scenes=scenes,
            provenance=provenance(verdicts),
            skipped={obstacle: len(names) for obstacle, names in skipped.items()},
            merged=str(real.root) if real else "",
        )
        (root / CARD_FILE).write_text(export_card(card), encoding="utf-8")
        (root / EXPORT_FILE).write_bytes(export_record(card))
    return _summarize(card, real, links, run.nuscenes)


def open_merged_root(run: RunDir, settings: ExportSettings, names: Iterable[str] = ()) -> RealRoot | None:
    """The root of ``settings.merge``, None if not set.

    Raises UserError within seconds if it is not a nuScenes root, has a scene of ``names``, or would be written to.
    """
    root, out = settings.merge, run.nuscenes
    if root is None:
        return None
    if any(a.resolve().is_relative_to(b.resolve()) for a, b in ((root, out), (out, root))):
        raise UserError(f"export.merge={root} and the export {out} must not contain each other; choose another root")
    with show_status("Checking export.merge"):
        try:
            real = open_real_root(root)
            check_scene_names(real, names)
        except UserError as error:
            raise UserError(f"export.merge: {error}") from None
    return real


def _is_export(path: Path) -> bool:
    """Whether ``path`` is an earlier export; raises UserError if it also has files that are not of the export."""
    try:
        version = str(read_export_record(path).get("version", ""))
    except UserError:
        return False
    own = {CARD_FILE, EXPORT_FILE, SCRATCH_MARKER, version, *_FOLDERS}
    other = sorted(entry.name for entry in path.iterdir() if entry.name not in own)
    if version and other:
        raise UserError(f"{path / other[0]} is not of an export, so {path} is not replaced; move it away")
    return bool(version)


def _write_clips(
    samples: Sequence[AcceptedSample], root: Path, version: str
) -> tuple[list[ExportedScene], dict[str, list[str]]]:
    """Write the scenes of all samples and their tables; returns the scenes, and the clips without one by obstacle.

    Raises UserError if no clip can be written.
    """
    scenes: list[ExportedScene] = []
    skipped: defaultdict[str, list[str]] = defaultdict(list)
    with NuScenesWriter(root, version) as tables:
        clips = parallel_map(partial(write_sample, root), samples)
        for clip in track(clips, "Exporting", total=len(samples)):
            if clip.obstacle:
                skipped[clip.obstacle].append(clip.scene.clip_id)
            else:
                tables.add_rows(clip.scene, clip.rows)
                scenes.append(_describe(clip))
        print_skipped(skipped)
        if not scenes:
            raise UserError(f"none of the {len(samples)} accepted clips can be exported as nuScenes tables")
    return scenes, skipped


def _describe(clip: WrittenClip) -> ExportedScene:
    return ExportedScene(
        name=clip.scene.clip_id,
        split=clip.scene.split,
        recording=clip.scene.source,
        translation=map_translation(clip.scene),
        cameras=tuple(camera.name for camera in clip.scene.cameras),
        num_samples=len(clip.rows["sample"]),
    )


def _merge(real: RealRoot, root: Path) -> str:
    """Add the tables and files of ``real`` to ``root``; returns how many files were linked, as text."""
    with show_status(f"Merging tables with {real.tables}"):
        files = merge_tables(real, root / real.version)
    counts = Counter(track(link_files(real.root, root, files), "Linking files", total=len(files)))
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _write_splits(scenes: Iterable[ExportedScene], real: RealRoot | None, tables: Path) -> None:
    splits = export_splits(
        [(scene.name, scene.split) for scene in scenes],
        real.splits.items() if real else (),
        real.custom_splits if real else None,
    )
    (tables / "splits.json").write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")


def _summarize(card: NuScenesCard, real: RealRoot | None, links: str, folder: Path) -> ExportSummary:
    metrics: Mapping[str, float] = {"clips": len(card.scenes), "samples": card.num_samples}
    text = f"{_count_scenes(card.scenes)} with {card.num_samples} key frames ({card.version})"
    if real:
        text += f", merged with {_count_scenes(real.splits)} of {real.root} ({links})"
    return ExportSummary(folder=folder, text=text, metrics=metrics, artifacts=(CARD_FILE, EXPORT_FILE))


def _count_scenes(scenes: Sized) -> str:
    return f"{len(scenes)} scene{'s' * (len(scenes) != 1)}"
