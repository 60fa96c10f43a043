"""The command ``tune``: choose sampler settings by the accepted share and the seconds per clip of a grid of them."""

import argparse
from collections.abc import Sequence
from functools import partial

from rich import get_console

from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.generate.plan.recorded import open_recorded
from driveforge.pipelines.generate.select import generator_digest, prepare_captions, require_generable, select_generator
from driveforge.pipelines.generate.tune.choice import recommend
from driveforge.pipelines.generate.tune.grid import Sampler, current_settings, list_settings, list_trials, overrides
from driveforge.pipelines.generate.tune.plot import plot_results
from driveforge.pipelines.generate.tune.report import explain_choice, settings_table, write_sheets, write_tables
from driveforge.pipelines.generate.tune.search import TrialResult, judge_trials, run_trials
from driveforge.pipelines.inputs.instruments import load_instruments
from driveforge.pipelines.tracking.runs import pipeline_run
from driveforge.validation.calibration import Calibration


def main(config: Config, args: argparse.Namespace) -> int:
    """Search, write the report to ``<run_dir>/tune`` and print it; exit status 1 if no clip was accepted."""
    sampler: Sampler = args.what
    folder = config.run.tuning
    with pipeline_run(config, "tune") as tracker:
        results = tune(config, sampler)
        picture = folder / f"{sampler}.png"
        plot_results(picture, results)
        sheets = write_sheets(folder / f"{sampler}_sheets", results)
        for file in (*write_tables(folder, sampler, results), picture, *sheets):
            tracker.log_artifact(file, "tune")
    get_console().print(settings_table(results))
    print_result(f"{folder / sampler}.csv, plotted in {picture.name}, clips in {sampler}_sheets")
    return _print_choice(config, sampler, results)


def tune(config: Config, sampler: Sampler) -> list[TrialResult]:
    """The results of all settings, in the order of the grid; clips of earlier calls are kept."""
    list_settings(config.tune, current_settings(config.generate, sampler), sampler)  # fails early if a value is wrong
    calibration = Calibration.load(config.calibration_path)
    selected, root = select_generator(config), config.run.tuning / "clips"
    instruments = partial(load_instruments, config.validate)
    instruments()  # fails early if something is missing
    recorded = open_recorded(config.data, root, config.generate)
    require_generable(selected, recorded.scenes, config.generate)
    trials = list_trials(recorded, config.generate, config.tune, sampler, generator_digest(selected))
    prepare_captions(selected, (scene.caption for scene in recorded.scenes))
    run_trials(root, trials, selected, instruments, config.executor)
    return judge_trials(root, trials, calibration)


def _print_choice(config: Config, sampler: Sampler, results: Sequence[TrialResult]) -> int:
    best = recommend(results)
    if best is None:
        print_result("no setting is recommended: the gate accepted no clip", style="red")
        return 1
    chosen = overrides(best.settings, current_settings(config.generate, sampler), sampler)
    print_result(chosen, prefix="recommended: ", style="green")
    for line in explain_choice(results, best):
        print_result(line)
    return 0
