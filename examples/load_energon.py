"""Read exported shards with Megatron-Energon. It needs `megatron-energon`, not driveforge.

energon prepare runs/NAME/shards --non-interactive --split-ratio 1,0,0 --sample-type CrudeWebdataset
python examples/load_energon.py runs/NAME/shards

`driveforge verify` reports the files that Energon adds to the folder, but not as damage.
"""

import sys
from dataclasses import dataclass
from typing import Any

from megatron.energon import DefaultTaskEncoder, Sample, WorkerConfig, get_loader, get_train_dataset, stateless
from megatron.energon.task_encoder.cooking import Cooker, basic_sample_keys


@dataclass
class ClipSample(Sample):
    record: dict[str, Any]
    video: Any
    boxes_2d: Any


@stateless
def cook(sample: dict[str, Any]) -> ClipSample:
    video = next(value for name, value in sample.items() if name.endswith(".mp4"))
    boxes_2d = sample["annotations.npz"]["boxes_2d"]
    return ClipSample(**basic_sample_keys(sample), record=sample["json"], video=video, boxes_2d=boxes_2d)


class ClipEncoder(DefaultTaskEncoder):  # type: ignore[type-arg]
    cookers = (Cooker(cook),)

    def batch(self, samples: list[ClipSample]) -> list[ClipSample]:
        return samples


def main() -> None:
    dataset = get_train_dataset(
        sys.argv[1],
        batch_size=1,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=2),
        task_encoder=ClipEncoder(),
        repeat=False,
    )
    for (sample,) in get_loader(dataset):
        print("loaded", sample.record["clip_id"], sample.boxes_2d.shape, sample.record["metadata"]["verdict"]["state"])


if __name__ == "__main__":
    main()
