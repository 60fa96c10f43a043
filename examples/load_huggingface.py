"""Read exported shards with Hugging Face datasets: python examples/load_huggingface.py runs/NAME/shards SPLIT.

It needs `datasets`, not driveforge. Videos stay bytes here; with torchcodec installed, leave out `decode(False)` and
`Video(decode=False)` to get decoded frames.
"""

import sys

from datasets import Video, load_dataset

shards, split = sys.argv[1:]
files = {split: f"{shards}/{split}-*.tar"}

for clip in load_dataset("webdataset", data_files=files, split=split, streaming=True).decode(False):
    print("streamed", clip["__key__"], clip["json"]["metadata"]["verdict"]["state"])

clips = load_dataset("webdataset", data_files=files, split=split)
for name in [name for name in clips.column_names if name.endswith(".mp4")]:
    clips = clips.cast_column(name, Video(decode=False))
for clip in clips:
    boxes = clip["annotations.npz"]["boxes_2d"]  # (V, N, T, 4) as lists
    num_bytes = sum(len(clip[name]["bytes"]) for name in clips.column_names if name.endswith(".mp4"))
    print("loaded", clip["__key__"], f"{len(boxes)} cameras, {len(boxes[0])} objects, {num_bytes} bytes of video")
