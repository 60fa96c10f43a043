"""Load exported shards into FiftyOne: python examples/load_fiftyone.py runs/NAME/shards FOLDER [DATASET].

It needs `fiftyone`, `webdataset` and `numpy`, not driveforge. The videos are written to FOLDER. Every camera is a video
sample with the score of the gate, the reasons, the edit and the caption; its frames have the 2D boxes of the objects
that are visible. `fiftyone app launch DATASET` shows them.
"""

import io
import json
import sys
from pathlib import Path

import fiftyone as fo
import numpy as np
import webdataset as wds

MIN_VISIBLE_SHARE = 0.1


def main() -> None:
    shards, videos = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    name = sys.argv[3] if len(sys.argv) > 3 else "driveforge"
    videos.mkdir(parents=True, exist_ok=True)
    tars = [str(shards / shard["name"]) for shard in json.loads((shards / "index.json").read_bytes())["shards"]]
    dataset = fo.Dataset(name, persistent=True, overwrite=True)
    for clip in wds.WebDataset(tars, shardshuffle=False):
        record = json.loads(clip["json"])
        for view in range(len(record["cameras"])):
            dataset.add_sample(make_sample(clip, record, view, videos))
    print(f"{len(dataset)} videos with {dataset.count('frames.objects.detections')} boxes in {name}")


def make_sample(clip: dict[str, bytes], record: dict, view: int, videos: Path) -> fo.Sample:
    camera, verdict = record["cameras"][view], record["metadata"]["verdict"]
    path = videos / f"{record['clip_id']}.{camera['member']}"
    path.write_bytes(clip[camera["member"]])
    sample = fo.Sample(
        filepath=str(path),
        tags=[record["split"], *filter(None, (record["weather"], record["time_of_day"]))],
        clip_id=record["clip_id"],
        camera=camera["name"],
        caption=record["caption"],
        edit=record["metadata"]["edit"],
        gate_score=verdict["score"],
        gate_limit=verdict["limit"],
        near_duplicate_share=record["metadata"]["near_duplicates"]["share"],
    )
    for t, detections in enumerate(frame_detections(clip, camera, view), start=1):  # frame numbers start at 1
        sample.frames[t] = fo.Frame(objects=fo.Detections(detections=detections))
    return sample


def frame_detections(clip: dict[str, bytes], camera: dict, view: int) -> list[list[fo.Detection]]:
    """The visible objects of every frame; FiftyOne's boxes are left, top, width, height in shares of the image."""
    tracks, annotations = (np.load(io.BytesIO(clip[name])) for name in ("tracks.npz", "annotations.npz"))
    boxes, visible = annotations["boxes_2d"][view] + 0.5, annotations["visible_share"][view]
    size = np.array([camera["width"], camera["height"]] * 2)
    corners = np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1) / size
    return [
        [
            fo.Detection(
                label=str(tracks["categories"][n]),
                bounding_box=corners[n, t].tolist(),
                track=str(tracks["ids"][n]),
                visible_share=float(visible[n, t]),
                speed=float(np.linalg.norm(annotations["velocities"][n, t])),
            )
            for n in range(len(tracks["ids"]))
            if tracks["present"][n, t] and visible[n, t] >= MIN_VISIBLE_SHARE
        ]
        for t in range(tracks["present"].shape[1])
    ]


if __name__ == "__main__":
    main()
