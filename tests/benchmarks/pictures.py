"""The pictures of the README: ``python -m tests.benchmarks.pictures runs/demo docs``.

``clips.png``: accepted clips on the left, rejected ones with their reasons on the right. ``accepted.png``: every clip
that the gate accepted, numbered, for manual inspection. ``boxes.png``: samples of the exported shards, read with stock
webdataset, with their boxes projected by their own calibration. ``nuscenes.png``: the key frames of a scene of the
export in nuScenes format, rendered by the devkit; needs ``driveforge export export.format=nuscenes`` first.
"""

import argparse
import io
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import webdataset
from matplotlib import pyplot
from numpy.typing import NDArray
from nuscenes.nuscenes import NuScenes

from driveforge.pipelines.generate.candidates import iter_candidates
from driveforge.pipelines.plots.contact_sheet import SheetRow, render_contact_sheet, write_png
from driveforge.pipelines.validate.gate import read_verdicts

ROWS = 4
UNIT_BOX = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
EDGES = [(a, b) for a, b in itertools.combinations(range(8), 2) if bin(a ^ b).count("1") == 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    write_png(arguments.out / "clips.png", clips(arguments.run_dir))
    write_png(
        arguments.out / "accepted.png", render_contact_sheet(list(accepted(arguments.run_dir)), scale=1, columns=2)
    )
    write_nuscenes(arguments.out / "nuscenes.png", arguments.run_dir / "nuscenes")
    write_png(
        arguments.out / "boxes.png", render_contact_sheet(list(boxed(arguments.run_dir / "shards"))[:ROWS], columns=2)
    )


def write_nuscenes(path: Path, root: Path) -> None:
    """A row for each weather: four key frames of the scene with the most visible boxes, and the last one from above."""
    nusc = NuScenes(json.loads((root / "driveforge.json").read_text())["version"], dataroot=str(root), verbose=False)
    visible = Counter(
        nusc.get("sample", row["sample_token"])["scene_token"]
        for row in nusc.sample_annotation
        if row["visibility_token"] in "34" and row["category_name"].startswith("vehicle")
    )
    best = {nusc.get("scene", token)["description"]: token for token, _ in reversed(visible.most_common())}
    figure, axes = pyplot.subplots(
        len(best), 5, figsize=(20, 3.1 * len(best)), gridspec_kw={"width_ratios": [5, 5, 5, 5, 3]}, squeeze=False
    )
    for (_, token), row in zip(sorted(best.items()), axes, strict=True):
        samples = [sample for sample in nusc.sample if sample["scene_token"] == token][:4]
        for number, (sample, axis) in enumerate(zip(samples, row, strict=False)):
            nusc.render_sample_data(sample["data"]["CAM_FRONT"], ax=axis, verbose=False)
            axis.set_title(f"CAM_FRONT, {number * 0.5:.1f} s")
        nusc.render_sample_data(samples[-1]["data"]["LIDAR_TOP"], ax=row[-1], axes_limit=30, verbose=False)
        row[-1].set_title("LIDAR_TOP (simulated), map")
    figure.tight_layout()
    figure.savefig(path, dpi=60)


def clips(run_dir: Path) -> NDArray[np.uint8]:
    """Accepted and rejected clips side by side, with different reasons and edits."""
    ledger = {row["clip_id"]: row for row in read_verdicts(run_dir / "verdicts.parquet")}
    candidates = list(iter_candidates(run_dir / "candidates"))
    good = [c for c in candidates if ledger[c.clip_id]["state"] == "accepted"]
    bad = _varied([c for c in candidates if ledger[c.clip_id]["state"] == "rejected"], ledger)
    rows = []
    for pair in itertools.zip_longest(good[:ROWS], bad[:ROWS]):
        for candidate in pair:
            if candidate is None:
                rows.append(SheetRow(caption="", frames=np.full((2, 96, 160, 3), 250, np.uint8)))
                continue
            row = ledger[candidate.clip_id]
            reason = row["reasons"][0]["text"].split(";")[0][:90] if row["reasons"] else ""
            caption = f"{row['state']}, {row['edit']}{': ' + reason if reason else ''}"
            rows.append(SheetRow(caption=caption, frames=candidate.load().frames[0], state=row["state"]))
    return render_contact_sheet(rows, num_frames=4, columns=2)


def accepted(run_dir: Path) -> Iterator[SheetRow]:
    """Every accepted clip, in the order of the plan."""
    states = {row["clip_id"]: row["state"] for row in read_verdicts(run_dir / "verdicts.parquet")}
    accepted_candidates = [c for c in iter_candidates(run_dir / "candidates") if states[c.clip_id] == "accepted"]
    for number, candidate in enumerate(accepted_candidates, start=1):
        yield SheetRow(caption=f"{number}: {candidate.clip_id}", frames=candidate.load().frames[0])


def _varied(candidates: Sequence[Any], ledger: dict[str, Any]) -> list[Any]:
    """Candidates with a new pair of reason and edit first."""
    seen: set[tuple[str, str]] = set()
    first: list[Any] = []
    rest: list[Any] = []
    for candidate in candidates:
        row = ledger[candidate.clip_id]
        kind = row["reasons"][0]["code"], row["edit"]
        (rest if kind in seen else first).append(candidate)
        seen.add(kind)
    return first + rest


def boxed(shards: Path) -> Iterator[SheetRow]:
    """Clips of the shards with their boxes, read and projected without driveforge."""
    for sample in webdataset.WebDataset([str(path) for path in sorted(shards.glob("*.tar"))], shardshuffle=False):
        about = json.loads(sample["json"])
        camera = about["cameras"][0]
        poses = np.load(io.BytesIO(sample["poses.npy"]), allow_pickle=False)
        tracks = np.load(io.BytesIO(sample["tracks.npz"]), allow_pickle=False)
        frames = _decode(sample[f"{camera['name'].lower()}.mp4"])
        camera_to_world = poses @ np.array(camera["camera_to_ego"])
        for t, image in enumerate(frames):
            for box, size, present in zip(tracks["box_to_world"], tracks["sizes"], tracks["present"], strict=True):
                if present[t]:
                    _draw(image, np.linalg.inv(camera_to_world[t]) @ box[t], size, np.array(camera["intrinsics"]))
        yield SheetRow(caption=about["caption"], frames=frames)


def _draw(image: NDArray[np.uint8], box_to_camera: NDArray[Any], size: NDArray[Any], k: NDArray[Any]) -> None:
    corners = (UNIT_BOX * size) @ box_to_camera[:3, :3].T + box_to_camera[:3, 3]
    if corners[:, 2].min() < 1 or corners[:, 2].max() > 45:
        return
    pixels = corners @ k.T
    points = np.round(pixels[:, :2] / pixels[:, 2:] * 16).astype(int)
    for a, b in EDGES:
        cv2.line(image, points[a].tolist(), points[b].tolist(), (90, 255, 120), 1, cv2.LINE_AA, 4)


def _decode(video: bytes) -> NDArray[np.uint8]:
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(video)
        file.flush()
        capture = cv2.VideoCapture(file.name)
        frames = []
        while (read := capture.read())[0]:
            frames.append(read[1][..., ::-1])
    return np.ascontiguousarray(np.stack(frames))


if __name__ == "__main__":
    main()
