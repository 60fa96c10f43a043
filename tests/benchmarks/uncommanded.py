"""Things on the road that have no box: ``python -m tests.benchmarks.uncommanded``.

An experiment, not part of the gate: the ground-plane test of ``tests.benchmarks.uncommanded_road`` on good clips of
every condition and on ordinary ones in which a vehicle is drawn whose box is taken away. AUROC, and the share detected
at the limit that 2 % of the good clips break.
"""

import argparse

import numpy as np

from driveforge.pipelines.processes.parallel import on_all_cores
from driveforge.pipelines.studies.validator.clips import CONDITIONS, GoodClip, make
from driveforge.pipelines.studies.validator.results import auroc
from driveforge.validation.corruptions.catalogue import CORRUPTIONS, corrupt
from driveforge.validation.corruptions.requirements import NotApplicable
from driveforge.validation.records import Sample
from driveforge.validation.views.boxes import project_boxes
from driveforge.validation.views.view import one_thread, reference_view
from tests.benchmarks.uncommanded_road import uncommanded_sample

SEED, FIRST, ROWS = 77_000, 100, 256
KINDS = ("uncommanded-moving", "uncommanded-parked")


def values_of(number: int) -> dict[str, float]:
    """The value of a clip as it is ("good") and, of ordinary ones, of what is made of it; 0 where nothing is seen."""
    clip = make(GoodClip(number=number, rows=ROWS, seed=SEED))
    clips = {"good": clip}
    if CONDITIONS[number % len(CONDITIONS)] == "usual":
        for kind in KINDS:
            try:
                clips[kind] = corrupt(clip, kind, CORRUPTIONS[kind].strong, seed=number)
            except NotApplicable:
                continue
    values = {}
    for name, one in clips.items():
        view = reference_view(one)
        with one_thread():
            found = uncommanded_sample(view, one.scene.lanes, project_boxes(view))
        values[name] = found.value if isinstance(found, Sample) else 0.0
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=70)
    options = parser.parse_args()
    found = list(on_all_cores(values_of, range(FIRST, FIRST + options.clips)))
    good = [values["good"] for values in found]
    limit = float(np.quantile(good, 0.98))
    print(f"{len(good)} good clips, 98 % below {limit:.1f} px")
    for kind in KINDS:
        spoilt = [values[kind] for values in found if kind in values]
        detected = np.mean([value > limit for value in spoilt])
        print(f"{kind}: {len(spoilt)} clips, AUROC {auroc(good, spoilt):.2f}, {detected:.0%} beyond")


if __name__ == "__main__":
    main()
