"""Trains a center-point detector on exported shards: ``python examples/train_detector.py runs/demo/shards [STEPS]``.

Needs webdataset, torch, numpy and av, not driveforge. Boxes are projected with the calibration of each sample.
"""

import io
import itertools
import json
import sys
from pathlib import Path

import av
import numpy as np
import torch
import webdataset as wds
from torch import nn

CELL = 8  # px
CORNERS = np.array([*itertools.product([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5], [1.0])]).T  # of a box of 1 m, (4, 8)


def read_sample(sample):
    """Images (T, 3, H, W) in 0..1 of the first camera, and (T, 3, H/8, W/8): has an object's center, log of its size"""
    camera = json.loads(sample["json"])["cameras"][0]
    poses, tracks = np.load(io.BytesIO(sample["poses.npy"])), np.load(io.BytesIO(sample["tracks.npz"]))
    with av.open(io.BytesIO(sample[camera["member"]])) as video:
        images = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
    to_camera = np.linalg.inv(poses @ np.array(camera["camera_to_ego"])) @ tracks["box_to_world"]  # (N, T, 4, 4)
    corners = CORNERS * np.pad(tracks["sizes"], ((0, 0), (0, 1)), constant_values=1)[:, :, None]  # (N, 4, 8) m
    points = np.array(camera["intrinsics"]) @ (to_camera @ corners[:, None])[:, :, :3]  # (N, T, 3, 8)
    pixels = points[:, :, :2] / points[:, :, 2:].clip(0.1)
    low, high = pixels.min(-1), pixels.max(-1)
    target = np.zeros((len(images), 3, camera["height"] // CELL, camera["width"] // CELL), np.float32)
    for n, t in np.argwhere(tracks["present"] & (points[:, :, 2].min(-1) > 1)):
        column, row = ((low[n, t] + high[n, t]) / 2 // CELL).astype(int)
        if 0 <= row < target.shape[2] and 0 <= column < target.shape[3]:
            target[t, :, row, column] = [1, *np.log((high[n, t] - low[n, t]).clip(1) / CELL)]
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255, torch.from_numpy(target)


torch.manual_seed(0)
folder, steps = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300
dataset = wds.WebDataset([str(tar) for tar in sorted(folder.glob("*.tar"))], shardshuffle=False).map(read_sample)
images, targets = map(torch.cat, zip(*dataset, strict=True))
layers = [
    (nn.Conv2d(a, b, 3, stride, 1), nn.BatchNorm2d(b), nn.ReLU())
    for a, b, stride in ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1))
]
network = nn.Sequential(*itertools.chain(*layers), nn.Conv2d(64, 3, 1))
optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
for step in range(1, steps + 1):
    chosen = torch.randint(len(images), (16,))
    found, target = network(images[chosen]), targets[chosen]
    center = nn.functional.binary_cross_entropy_with_logits(found[:, 0], target[:, 0], pos_weight=torch.tensor(20.0))
    size = ((found[:, 1:] - target[:, 1:]).abs() * target[:, :1]).sum() / target[:, 0].sum().clamp(1)
    loss = center + 0.1 * size
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 1 or step % 50 == 0 or step == steps:
        print(f"step {step} loss {loss.item():.3f}")
with torch.no_grad():
    found = torch.cat([network.eval()(part)[:, 0] for part in images.split(64)]) > 0
recall = found[targets[:, 0] > 0].float().mean()
print(f"on the training clips: recall of centers {recall:.2f}, at {found.float().mean():.1%} of all cells")
