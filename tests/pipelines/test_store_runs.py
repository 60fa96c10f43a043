"""A run folder in an object store: every stage works there, on any machine, and gives the same files as on disk."""

import json
import shutil
from pathlib import Path

import pytest

from driveforge.datasets.stores.location import cache_folder
from driveforge.datasets.stores.remote import RemoteStore
from driveforge.datasets.stores.working_copy import upload_changes, working_copy
from driveforge.pipelines.cli import main
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.costs import COSTS_FOLDER
from driveforge.pipelines.generate.select import load_selected, select_generator
from driveforge.pipelines.processes.environment import environment
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.validate.gate import read_verdicts
from tests.faults.small_run import contents

GENERATOR = "model.generator=tests.pipelines.own_generators:Own"
DATA = ["data.num_scenes=3", "data.num_frames=9", "data.height=96", "data.width=160"]
GENERATE = [GENERATOR, *DATA, "generate.num_clips=4", "generate.clips_per_unit=2", "generate.edits=[as-recorded]"]
CALIBRATE = ["validate.false_reject_rate=0.4", "validate.num_clips=18", "validate.num_corrupted=1"]


def objects(url: str) -> dict[str, bytes]:
    store = RemoteStore(url)
    names = [entry["path"] for entry in store.walk()]
    return {name: store.read(name) for name in names if COSTS_FOLDER not in name.split("/")}


def other_machine(url: str) -> None:
    """Forget everything that this machine has cached."""
    shutil.rmtree(cache_folder(url))


@pytest.mark.timeout(900)
def test_every_stage_works_in_a_store_and_gives_the_same_files(
    store_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir, here = f"run_dir={store_url}", f"run_dir={tmp_path / 'run'}"
    assert main(["generate", *GENERATE, run_dir]) == 0 and main(["generate", *GENERATE, here]) == 0
    assert main(["calibrate", *CALIBRATE, run_dir]) == 0
    for name in ("calibration.json", "calibration.png", "settings.yaml"):
        shutil.copy(cache_folder(store_url) / name, tmp_path / "run" / name)
    other_machine(store_url)
    assert main(["gate", run_dir]) == 0
    (clip_id, *_) = (row["clip_id"] for row in read_verdicts(RemoteStore(store_url).fetch("verdicts.parquet")))
    overrides = {clip_id: {"verdict": "accept", "reviewer": "anna", "reason": "looks right"}}
    for folder in (cache_folder(store_url), tmp_path / "run"):
        (folder / "overrides.json").write_text(json.dumps(overrides))
    assert main(["gate", run_dir]) == 0
    other_machine(store_url)
    assert main(["export", run_dir]) == 0
    other_machine(store_url)
    assert main(["verify", run_dir]) == 0 and main(["verify", f"{store_url}/shards"]) == 0
    assert main(["gate", here]) == 0 and main(["export", here]) == 0
    stored, local = objects(store_url), contents(tmp_path / "run")
    # The summary of the plan is made again where it is missing.
    assert stored.keys() == local.keys() - {"candidates/plan-summary.json", "mlflow-waiting.jsonl"}
    # The review page names the run folder.
    differing = {name for name in stored if stored[name] != local[name] and not name.startswith("review/")}
    assert differing <= {"mlflow.json"}, differing


def test_a_worker_on_another_machine_fetches_the_model(store_url: str, tmp_path: Path) -> None:
    with working_copy(store_url, (), print) as copy:
        shutil.copytree(BASE, copy.folder / "model")
        upload_changes(copy.folder)
        selected = select_generator(compose([f"run_dir={copy.folder}"]))
    assert selected.url == f"{store_url}/model"
    digest = load_selected(selected).digest
    other_machine(store_url)
    with environment({"DRIVEFORGE_CACHE": str(tmp_path / "other")}):
        assert load_selected(selected).digest == digest
        (cache_folder(selected.url) / "world_model.json").write_text("{}")
        assert load_selected(selected).digest == digest, "a copy of another size is fetched again"
