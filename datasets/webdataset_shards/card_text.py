"""The fixed text of the data card; names in braces are filled in by ``data_card``."""

LOADING = """\
import io, json, av, numpy as np, torch, webdataset as wds

def frames(video):  # H.264 -> (T, H, W, 3) uint8 RGB
    with av.open(io.BytesIO(video)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])

def array(data):  # npy -> array
    return np.load(io.BytesIO(data), allow_pickle=False)

def arrays(data):  # npz -> arrays by name
    return dict(array(data))

shards = [shard["name"] for shard in json.load(open("index.json"))["shards"] if shard["split"] == "{split}"]
# With more workers than shards, some workers have nothing to read: empty_check=False allows that.
dataset = wds.WebDataset(shards, shardshuffle=False, empty_check=False).map_dict(**{{{decoders}}})
loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=0)
"""

INTRODUCTION = """\
All pixels are synthetic. Every clip was measured against its conditioning (ego pose and 3D boxes) and accepted by a
gate with calibrated limits, or by a reviewer.
"""

LEAKS = """\
A near-duplicate differs in at most 31 of the 256 bits of a perceptual hash from a recorded frame of the scenes that the
clips were generated from. The recorded first frames that clips continue are not counted.
"""

DISCLOSURE = """\
The content of this data set was artificially generated with an AI system. Two marks say so in machine-readable form:

- every `.mp4` carries XMP metadata with `Iptc4xmpExt:DigitalSourceType` set to
  `{source_type}`;
- every `json` has the same URL as `digital_source_type`.

Article 50(2) of Regulation (EU) 2024/1689 (the AI Act) requires that outputs of AI systems that generate synthetic
video "are marked in a machine-readable format and detectable as artificially generated or manipulated". The marks serve
this purpose. They are plain metadata: there is no signed C2PA manifest and no watermark, and re-encoding a video
removes its mark. Who publishes the data set has to judge whether they suffice.

Clips whose `metadata.first_frames` is not empty continue recorded images; the recording is `source`.
"""

MEMBERS = """\
Sample keys are clip ids. Each sample has these members; `sample.schema.json` describes `json`:

| member | content |
| --- | --- |
| `json` | times, cameras, caption, weather, origin, license, request, measures and verdict |
| `<camera>.mp4` | T frames; `cameras` has its `intrinsics` (px) and `camera_to_ego`, (T, 4, 4) |
| `poses.npy` | `ego_to_world`, (T, 4, 4) float64; (0, 4, 4) if the clip has no ego pose |
| `tracks.npz` | `ids`, `categories` (N,), `sizes` (N, 3), `box_to_world` (N, T, 4, 4), `present` (N, T), \
`lidar_points` (N, T), `annotated_attributes` (N, T) |
| `annotations.npz` | V cameras: `boxes_2d` (V, N, T, 4) px, `cut_sides` (V, N, T, 4), `visible_share`, \
`occluded_share` (V, N, T), `velocities` (N, T, 3) m/s, `attributes` (N, T) |
| `ego_motion.npz` | `speed` m/s, `acceleration` m/s², `yaw_rate` rad/s, `curvature` 1/m, (T,) |
| `thumb.jpg` | the middle frame of the first camera |
| `depth.npz`, `instances.npz` | only of simulated scenes: (T, H, W) uint16 for each camera |

- Units are meters, seconds and pixels; pixel centers are at integers.
- A pose `a_to_b` maps a-coordinates to b. Camera axes are x right, y down, z forward; ego and box axes are x forward,
  y left, z up.
- `box_to_world` is the pose of the box center; `sizes` are length, width and height along the box's x, y and z. A box
  is valid in frames where `present` is true.
- A world point `p` (4,) projects to `q[:2] / q[2]`, with
  `q = intrinsics @ (inv(ego_to_world[t] @ camera_to_ego[t]) @ p)[:3]`.
- `boxes_2d` are x0, y0, x1, y1 of the part of a box inside the image, zeros if there is none; `cut_sides` says whether
  the box goes on beyond the left, top, right and bottom edge of the image.
- `visible_share` is the share of a box inside the image and not behind another box, `occluded_share` the share of what
  is inside the image that is behind another box.
- `curvature` is that of the path, positive to the left: wheels of a vehicle with wheelbase L are steered by
  `arctan(L * curvature)`.
- Unknown numbers in arrays are NaN, or -1 for `lidar_points`. In `json`, unknown is "", -1 or []; never null.
- `lanes`, `metadata.settings`, `metadata.measures` and `metadata.frame_hashes` are JSON strings; `lanes` is a list of
  `kind` and `points` (N, 3) in the world frame.
- `depth.npz` is in centimeters along the optical axis, 0 for sky; `instances.npz` is 1 + the index of the track that
  is visible, 0 for everything else. Both are rendered from the commanded scene: they are exact for the command, and for
  the pixels only as far as the model followed it.
- The last `held_frames` frames, if any, are padding past the end of a recording: exclude them from training.

`index.json` lists size, sha256, number of samples and keys of every shard; `samples.parquet` has a row for each clip,
to select clips by weather, split, verdict or score; `croissant.json` describes both to Croissant readers.
`driveforge verify` checks all of it.
"""
