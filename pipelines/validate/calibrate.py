"""The command ``calibrate``: limits of the gate from known-good clips, encoded by the generator's VAE and H.264."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Protocol

import numpy as np
from rich import get_console
from rich.table import Table

from driveforge.datasets.domains import DRIVING_DOMAINS
from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.source import Source
from driveforge.datasets.webdataset_shards.format import roundtrip_clip
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import plain_text, print_result
from driveforge.pipelines.generate.select import SelectedGenerator, describe_codec, load_codec, select_generator
from driveforge.pipelines.inputs.instruments import InstrumentsLoader, load_instruments
from driveforge.pipelines.inputs.settings import Data, SimulatedData
from driveforge.pipelines.inputs.sources import open_source
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.review import proposal
from driveforge.pipelines.tracking.runs import pipeline_run
from driveforge.pipelines.validate.settings import ValidateSettings
from driveforge.validation.calibration import Calibration
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.cross_conformal import calibrate, num_scenes_needed
from driveforge.validation.degradations.wear import wear_known_good
from driveforge.validation.detection_power import count_caught, list_weaknesses, power_table_rows, require_detection
from driveforge.validation.guarantee import (
    calibration_table_rows,
    describe_false_reject_rate,
    describe_left_out_covariates,
)
from driveforge.validation.instruments import Instruments
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures


class ClipCodec(Protocol):
    """Encodes and decodes clips; a generator is one."""

    def reconstruct(self, clip: Clip) -> Clip:
        """``clip`` encoded and decoded; a clip of the same scene and shape."""


# Called once in every process; it must be picklable by reference, like a ``partial`` of a function.
CodecLoader = Callable[[], ClipCodec]


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownGoodClip:
    """Clip ``number`` of ``data``; it is recorded or simulated, not generated.

    With ``degrade`` it is degraded like recordings, see ``validation/degradations/wear.py``.
    """

    data: Data
    number: int
    degrade: bool = False


def main(config: Config, args: argparse.Namespace) -> None:
    """Write the calibration of ``config`` and show its limits; with ``args.from_review``, propose some from reviews."""
    from driveforge.pipelines.plots.limits import plot_limits

    if args.from_review:
        proposal.main(config, args)
        return
    if args.apply:
        raise UserError("--apply belongs to --from-review; `driveforge calibrate` alone writes its limits")
    path, console = config.calibration_path, get_console()
    with pipeline_run(config, "calibrate") as tracker:
        calibration = calibrate_run(config)
        plot_limits(path.with_suffix(".png"), calibration)
        for file in (path, path.with_suffix(".png")):
            tracker.log_artifact(file)
    console.print(limits_table(calibration))
    if calibration.power:
        console.print(power_table(calibration))
    print_result(f"{path}, plotted in {path.with_suffix('.png').name}")


def calibrate_run(config: Config) -> Calibration:
    """Fit limits to ``validate.num_clips`` clips of ``config.data``, encoded by the VAE of the generating model.

    A class of the user's own without ``reconstruct`` encodes nothing: the limits then include only H.264. Raises
    UserError, and writes nothing, if the limits detect no error of a group of corruptions.
    """
    selected = select_generator(config)
    items = list_known_good(config.data, config.validate)
    instruments = partial(load_instruments, config.validate)
    instruments()  # fail early if weights or a package are missing
    measured = measure_known_good(items, partial(load_codec, selected), instruments)
    results = list(track(measured, "Calibrating", total=len(items)))
    calibration = calibrate(
        [measures for _, measures in results],
        name=_calibration_name(items, selected, config.validate.tracker),
        false_reject_rate=config.validate.false_reject_rate,
        scenes=[recording for recording, _ in results],
    )
    pairs = list_to_corrupt(items, config.validate.num_corrupted)
    corrupted = track(
        measure_corrupted(pairs, partial(load_codec, selected), instruments),
        "Corrupting",
        len(pairs),
        disable=not pairs,
    )
    calibration = replace(calibration, power=count_caught([one for many in corrupted for one in many], calibration))
    for weakness in filter(None, (describe_left_out_covariates(calibration), *list_weaknesses(calibration))):
        get_console().print(f"[yellow]{plain_text(weakness)}[/yellow]")
    if not config.validate.force:
        require_detection(calibration)
    calibration.save(config.calibration_path)
    return calibration


def list_known_good(data: Data, settings: ValidateSettings) -> list[KnownGoodClip]:
    """Evenly spaced clips of ``data``; if it has too few recordings, simulated clips are added."""
    num_requested, num_needed = settings.num_clips, num_scenes_needed(settings.false_reject_rate)
    scenes = _source(data).scenes()
    numbers = evenly_spaced(len(scenes), num_requested)
    degrade = settings.degrade and not isinstance(data, SimulatedData)
    items = [KnownGoodClip(data=data, number=number, degrade=degrade) for number in numbers]
    recordings = len({recording_id(scenes[number]) for number in numbers})
    if recordings < num_needed <= num_requested:
        num_missing = max(num_requested - len(items), num_needed - recordings)
        get_console().print(
            f"[yellow]{recordings} recordings of {data.name} are too few to calibrate on; {num_missing} simulated "
            "clips are added, so the limits depend on them too[/yellow]"
        )
        simulated = simulated_like(data, num_missing)
        items += [
            KnownGoodClip(data=simulated, number=number, degrade=degrade)
            for number in evenly_spaced(len(_source(simulated)), num_missing)
        ]
    return items


def simulated_like(data: Data, num_scenes: int) -> SimulatedData:
    """Simulated driving with the size, rate and length of ``data``."""
    # Not the clips of ``data`` again, if that is simulated too.
    seed = data.seed + 1 if isinstance(data, SimulatedData) else 0
    framing = asdict(data.framing)
    return SimulatedData(name="simulated", num_scenes=num_scenes, domains=DRIVING_DOMAINS, seed=seed, **framing)


def evenly_spaced(total: int, count: int) -> list[int]:
    """``count`` numbers evenly spaced over 0..total-1, or all if there are fewer."""
    return [int(place) for place in np.linspace(0, total - 1, min(count, total)).round()]


def measure_known_good(
    items: Sequence[KnownGoodClip], loader: CodecLoader, instruments: InstrumentsLoader = Instruments
) -> Iterator[tuple[str, Measures]]:
    """The recording and the measures of each clip, in order, after the VAE and H.264, like generated clips.

    So the limits include the effects of compression.
    """
    return parallel_map(_measure_known_good, items, _init_worker, (loader, instruments))


def list_to_corrupt(items: Sequence[KnownGoodClip], count: int) -> list[tuple[KnownGoodClip, KnownGoodClip]]:
    """``count`` evenly spaced clips of the first data set, each with another clip for corruptions that need one."""
    own = [item for item in items if item.data == items[0].data]
    return [(own[place], own[(place + len(own) // 2) % len(own)]) for place in evenly_spaced(len(own), count)]


def measure_corrupted(
    pairs: Sequence[tuple[KnownGoodClip, KnownGoodClip]],
    loader: CodecLoader,
    instruments: InstrumentsLoader = Instruments,
) -> Iterator[list[tuple[str, Measures]]]:
    """The corruption type and the measures of every strongly corrupted version of each first clip, in order.

    A clip is corrupted after the VAE and before H.264, like an error of a generator. Corruptions that do not apply are
    left out.
    """
    return parallel_map(_measure_corrupted, pairs, _init_worker, (loader, instruments))


_codec: ClipCodec
_instruments: Instruments


def _init_worker(loader: CodecLoader, instruments: InstrumentsLoader) -> None:
    global _codec, _instruments
    _codec, _instruments = loader(), instruments()


def _measure_known_good(item: KnownGoodClip) -> tuple[str, Measures]:
    source = _source(item.data)
    scene = source.scenes()[item.number]
    clip = source.load(scene)
    if item.degrade:
        clip = wear_known_good(clip)
    return recording_id(scene), measure(roundtrip_clip(_codec.reconstruct(clip)), _instruments)


def _measure_corrupted(pair: tuple[KnownGoodClip, KnownGoodClip]) -> list[tuple[str, Measures]]:
    sources = [_source(item.data) for item in pair]
    scenes = [source.scenes()[item.number] for source, item in zip(sources, pair, strict=True)]
    clip, other = (_codec.reconstruct(source.load(scene)) for source, scene in zip(sources, scenes, strict=True))
    has_other = recording_id(scenes[0]) != recording_id(scenes[1])
    measured = []
    for name, corruption in CORRUPTIONS.items():
        try:
            corrupted = corrupt(clip, name, corruption.strong, seed=pair[0].number, other=other if has_other else None)
        except CorruptionNotApplicable:
            continue
        measured.append((name, measure(roundtrip_clip(corrupted), _instruments)))
    return measured


def recording_id(scene: Scene) -> str:
    """The recording of a scene: its clips are similar, so they must be on the same side of a split."""
    return scene.source or scene.clip_id


@lru_cache(maxsize=2)
def _source(data: Data) -> Source:
    """The opened source, cached per process."""
    return open_source(data)


def _calibration_name(items: Sequence[KnownGoodClip], selected: SelectedGenerator, tracker: str) -> str:
    counts = {name: sum(item.data.name == name for item in items) for name in sorted({i.data.name for i in items})}
    clips = " and ".join(f"{count} {name}" for name, count in counts.items())
    tracker_note = "" if tracker == "lucas_kanade" else f", tracked by {tracker}"
    return f"{clips} clips through {' and '.join(filter(None, (describe_codec(selected), 'H.264')))}{tracker_note}"


def power_table(calibration: Calibration) -> Table:
    """How many corrupted clips the limits catch, by type of corruption."""
    table = Table("errors of", "corruption", "strength", "caught", title="Corrupted known-good clips that are caught")
    for row in power_table_rows(calibration):
        table.add_row(*map(plain_text, row))
    return table


def limits_table(calibration: Calibration) -> Table:
    rate = describe_false_reject_rate(calibration)
    title = f"{calibration.name}: false-reject rate {rate}. {calibration.note}"
    table = Table("family", "measure", "unit", "tail from", "limit", "fitted on", title=plain_text(title))
    for row in calibration_table_rows(calibration):
        table.add_row(*map(plain_text, row))
    return table
