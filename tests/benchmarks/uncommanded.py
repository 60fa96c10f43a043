"""Detection of objects without a box on the road: ``python -m tests.benchmarks.uncommanded``.

An experiment, not part of the gate: the ground-plane test of ``tests.benchmarks.uncommanded_road`` on good clips of
every condition, and on clips of the usual condition with a vehicle whose box was removed. Prints the AUROC, and the
detection rate at the limit that 2 % of the good clips exceed.
"""

import argparse

import numpy as np

from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.studies.validator.clips import CONDITIONS, GoodClip, make_clip
from driveforge.pipelines.studies.validator.results import auroc
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.records import Sample
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import reference_view, single_threaded_opencv
from tests.benchmarks.uncommanded_road import uncommanded_sample

SEED, FIRST, ROWS = 77_000, 100, 256
TYPES = ("uncommanded-moving", "uncommanded-parked")


def values_of(number: int) -> dict[str, float]:
    """The values of a good clip and, if it is of the usual condition, of its corruptions; 0 without a detection."""
    clip = make_clip(GoodClip(number=number, rows=ROWS, seed=SEED))
    clips = {"good": clip}
    if CONDITIONS[number % len(CONDITIONS)] == "usual":
        for corruption_type in TYPES:
            try:
                clips[corruption_type] = corrupt(
                    clip, corruption_type, CORRUPTIONS[corruption_type].strong, seed=number
                )
            except CorruptionNotApplicable:
                continue
    values = {}
    for name, one in clips.items():
        view = reference_view(one)
        with single_threaded_opencv():
            result = uncommanded_sample(view, one.scene.lanes, project_boxes(view))
        values[name] = result.value if isinstance(result, Sample) else 0.0
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=70)
    options = parser.parse_args()
    results = list(parallel_map(values_of, range(FIRST, FIRST + options.clips)))
    good = [values["good"] for values in results]
    limit = float(np.quantile(good, 0.98))
    print(f"{len(good)} good clips, 98 % below {limit:.1f} px")
    for corruption_type in TYPES:
        corrupted = [values[corruption_type] for values in results if corruption_type in values]
        detected = np.mean([value > limit for value in corrupted])
        print(f"{corruption_type}: {len(corrupted)} clips, AUROC {auroc(good, corrupted):.2f}, {detected:.0%} detected")


if __name__ == "__main__":
    main()
