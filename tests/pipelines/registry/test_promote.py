"""Promotion and rollback through the command line, on a real MLflow store."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.cli import main
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.registry import promote as stage
from driveforge.pipelines.registry.models import BASE, resolve_checkpoint, resolve_start_checkpoint
from tests.pipelines.promoting import MOTION, make_evaluation, make_model, make_run

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the module, in a folder with a space: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("my runs")
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder


class Desk:
    """The commands as somebody types them, about models of one name in the store."""

    def __init__(self, runs: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.runs, self.name, self.capsys = runs, name, capsys
        self.client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")

    @property
    def settings(self) -> list[str]:
        return [f"promote.registered_as={self.name}", f"promote.dynamics=[{MOTION}]"]

    def run(self, name: str) -> Path:
        return self.runs / f"{self.name}-{name}"

    def promote(self, name: str, *more: str) -> tuple[int, str]:
        return self.type("promote", f"run_dir={self.run(name)}", *more)

    def rollback(self) -> tuple[int, str]:
        return self.type("rollback", f"run_dir={self.run('any')}")

    def type(self, *words: str) -> tuple[int, str]:
        self.capsys.readouterr()
        status = main([*words, *self.settings])
        told = self.capsys.readouterr()
        return status, " ".join((told.out + told.err).split())

    def alias(self, alias: str) -> str:
        """The number of the version, or nothing where no version has the alias."""
        try:
            return str(self.client.get_model_version_by_alias(self.name, alias).version)
        except mlflow.exceptions.MlflowException:
            return ""

    @property
    def champion(self) -> str:
        return self.alias("champion")


@pytest.fixture
def desk(
    runs: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    # What a picture shows is tested by itself; to draw one takes as long as all else.
    monkeypatch.setattr(stage, "plot_promotion", lambda path, *_: path.write_bytes(b"a picture"))
    return Desk(runs, request.node.name.removeprefix("test_").replace("[", "-").replace("]", "")[:60], capsys)


def crowned(desk: Desk, *names: str) -> list[str]:
    """Champions one after the other, each 0.5 dB better than the one before; their digests."""
    digests = []
    for number, name in enumerate(names):
        digests.append(make_run(desk.run(name), {0: make_evaluation(), 100: make_evaluation(0.5 * (number + 1))}))
        assert desk.promote(name)[0] == 0
    return digests


def test_a_model_that_improved_is_champion_and_is_what_the_next_night_starts_from(desk: Desk) -> None:
    digest = make_run(desk.run("a"), {0: make_evaluation(), 50: make_evaluation(0.3), 100: make_evaluation(0.5)})
    status, told = desk.promote("a")
    assert status == 0
    assert f"PROMOTED version 1 ({digest}) is champion, the first one" in told
    assert "improved driving, next_frame/psnr: 20.8 -> 21.3, better by 2.4 %" in told
    assert (desk.champion, desk.alias("candidate")) == ("1", "1")
    config = compose([f"run_dir={desk.run('tomorrow')}", "model.checkpoint=champion", *desk.settings])
    assert compute_model_digest(resolve_checkpoint(config)) == digest


def test_a_model_that_forgot_one_domain_is_refused_with_domain_measure_and_amount(desk: Desk) -> None:
    crowned(desk, "a")
    make_run(desk.run("b"), {0: make_evaluation(), 100: make_evaluation(2.0, {"orbit": 0.4})})
    status, told = desk.promote("b")
    assert status == 1
    assert "REFUSED version 2" in told and "version 1" in told
    assert f"forgot orbit, {MOTION}: 0.86 -> 1.2, worse by 40 %" in told
    assert (desk.champion, desk.alias("candidate")) == ("1", "2")
    version = desk.client.get_model_version(desk.name, "2")
    assert version.description.startswith("refused against version 1\norbit, points/static")
    artifacts = {file.path for file in desk.client.list_artifacts(version.run_id)}
    assert artifacts == {"model", "evaluation.parquet", "origin.parquet", "promotion.json", "promotion.png"}
    run = desk.client.get_run(version.run_id)
    assert (run.info.status, run.data.tags["driveforge.promoted"]) == ("FINISHED", "false")
    assert run.data.metrics[f"regression/champion/orbit/{MOTION}"] == pytest.approx(0.4, abs=0.01)
    forgotten = run.data.metrics[f"forgetting/{MOTION}"]
    assert forgotten == -run.data.metrics[f"backward_transfer/{MOTION}"] == pytest.approx(0.4 * 0.86 / 2, abs=0.01)
    logged = json.loads(Path(desk.client.download_artifacts(version.run_id, "promotion.json")).read_text())
    assert logged["is_promoted"] is False
    assert {check["state"] for check in logged["checks"]} == {"improved", "retained", "regressed"}


def test_what_the_clips_cannot_tell_is_refused_with_those_words(desk: Desk) -> None:
    make_run(desk.run("a"), {0: make_evaluation(), 100: make_evaluation(0.5, spread=0.3)})
    status, told = desk.promote("a")
    assert status == 1
    assert "inconclusive" in told and "a regression of more than 5 % is not excluded" in told
    assert "there is no champion yet" in told
    assert (desk.champion, desk.alias("candidate")) == ("", "1")
    assert desk.promote("a", "promote.min_clips=11")[1].count("10 of 10 clips, 11 are needed") == 4
    assert desk.alias("candidate") == "1", "the same files are the same version"


def test_without_improvement_the_champion_stays(desk: Desk) -> None:
    crowned(desk, "a")
    make_run(desk.run("b"), {0: make_evaluation(), 100: make_evaluation(0.2)})
    status, told = desk.promote("b")
    assert status == 1 and "worse driving, next_frame/psnr: 21.3 -> 21" in told
    assert desk.champion == "1"


def test_small_falls_night_after_night_do_not_add_up(desk: Desk) -> None:
    for night, regression in enumerate((0.02, 0.04, 0.06)):
        make_run(
            desk.run(str(night)),
            {0: make_evaluation(), 100: make_evaluation(0.5 + night, {"orbit": regression}, spread=0.001)},
        )
    told = [desk.promote(str(night)) for night in range(3)]
    assert [status for status, _ in told] == [0, 0, 1]
    reasons = told[2][1].split("kept in")[0]
    assert "forgot orbit" in reasons and "against the base" in reasons and "against the champion" not in reasons


def test_another_protocol_is_refused_unless_the_champion_was_evaluated_under_it_too(desk: Desk) -> None:
    (champion,) = crowned(desk, "a")
    make_run(desk.run("b"), {0: make_evaluation(protocol="p2"), 100: make_evaluation(1.0, protocol="p2")})
    status, told = desk.promote("b")
    assert status == 2 and f"{champion} by 'p1', the candidate by 'p2'; run `driveforge evaluate champion" in told
    assert desk.alias("candidate") == "1", "nothing was registered"
    both = {(0, "base"): make_evaluation(protocol="p2"), (100, champion): make_evaluation(0.5, protocol="p2")}
    make_run(desk.run("c"), {**both, 100: make_evaluation(1.0, protocol="p2")})
    assert desk.promote("c")[0] == 0
    assert desk.champion == "2"


def test_a_model_that_is_champion_stays_so(desk: Desk) -> None:
    crowned(desk, "a")
    assert desk.promote("a") == (0, f"version 1 ({compute_model_digest(desk.run('a') / 'model')}) is champion already")


def test_rollback_goes_back_champion_by_champion_and_then_no_further(desk: Desk) -> None:
    first, second, third = crowned(desk, "a", "b", "c")
    assert desk.champion == "3"
    status, told = desk.rollback()
    assert status == 0 and told.startswith(f"version 2 ({second}) is champion again; version 3 ({third})")
    assert desk.champion == "2"
    assert desk.rollback()[0] == 0
    assert desk.champion == "1"
    status, told = desk.rollback()
    assert status == 2 and f"version 1 ({first}) is the first champion: there is nothing to roll back to" in told
    assert desk.champion == "1"


def test_what_was_rolled_back_is_not_promoted_again_until_somebody_says_so(desk: Desk) -> None:
    crowned(desk, "a", "b")
    desk.rollback()
    status, told = desk.promote("b")
    assert status == 2 and "was rolled back" in told and "driveforge.rolled_back" in told
    assert desk.champion == "1"
    desk.client.delete_model_version_tag(desk.name, "2", "driveforge.rolled_back")
    assert desk.promote("b")[0] == 0
    assert desk.champion == "2"


def test_an_alias_that_was_moved_by_hand_is_what_counts(desk: Desk) -> None:
    crowned(desk, "a", "b")
    make_run(desk.run("c"), {0: make_evaluation(), 100: make_evaluation(0.7)})
    assert desk.promote("c")[0] == 1, "not better than b"
    desk.client.set_registered_model_alias(desk.name, "champion", "1")
    assert desk.promote("c")[0] == 0, "but better than a"
    assert desk.champion == "3"
    assert desk.rollback()[0] == 0
    assert desk.champion == "1"


def test_a_champion_made_by_hand_has_nothing_before_it(desk: Desk) -> None:
    crowned(desk, "a")
    make_run(desk.run("b"), {0: make_evaluation(), 100: make_evaluation(0.2)})
    desk.promote("b")
    desk.client.set_registered_model_alias(desk.name, "champion", "2")
    status, told = desk.rollback()
    assert status == 2 and "was made champion by hand" in told
    assert desk.champion == "2"


def test_a_killed_promotion_changes_nothing_and_of_two_at_once_the_second_has_to_beat_the_first(desk: Desk) -> None:
    crowned(desk, "a")
    for name in ("killed", "b", "c"):
        make_run(desk.run(name), {0: make_evaluation(), 100: make_evaluation(1.0)})
    runs = [str(desk.run(name)) for name in ("killed", "b", "c")]
    command = [sys.executable, "-m", "tests.pipelines.promoting", *runs, *desk.settings]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    killed, *statuses = map(int, done.stdout.split())
    assert killed == -signal.SIGKILL, done.stderr
    assert sorted(statuses) == [0, 1], done.stderr
    winner = {0: "b", 1: "c"}[statuses.index(0)]
    version = desk.client.get_model_version_by_alias(desk.name, "champion")
    assert version.tags["driveforge.digest"] == compute_model_digest(desk.run(winner) / "model")
    assert version.tags["driveforge.champion_before"] == "1", "the killed one never was champion"


def test_a_fine_tune_goes_on_from_the_champion_that_it_began_with(desk: Desk) -> None:
    (first,) = crowned(desk, "a")
    night = compose([f"run_dir={desk.run('night')}", "model.checkpoint=champion", *desk.settings])
    assert compute_model_digest(resolve_start_checkpoint(night)) == first
    second = make_run(desk.run("b"), {0: make_evaluation(), 100: make_evaluation(1.0)})
    assert desk.promote("b")[0] == 0
    assert (compute_model_digest(resolve_start_checkpoint(night)), compute_model_digest(resolve_checkpoint(night))) == (
        first,
        second,
    )


def test_without_a_champion_the_word_is_a_wrong_setting(desk: Desk, tmp_path: Path) -> None:
    config = compose([f"run_dir={desk.run('a')}", "model.checkpoint=champion", *desk.settings])
    with pytest.raises(
        UserError, match=r"there is no champion yet; use model.checkpoint=base until `driveforge promote`"
    ):
        resolve_checkpoint(config)
    with pytest.raises(UserError, match="no models are registered"):
        resolve_checkpoint(compose([f"run_dir={tmp_path / 'a'}", "model.checkpoint=champion"]))
    assert not list(tmp_path.iterdir()), "looking for a champion makes no store"
    assert resolve_start_checkpoint(compose([f"run_dir={tmp_path / 'a'}"])) == BASE


@pytest.mark.parametrize(
    ("has_model", "history", "said"),
    [
        (False, {}, "holds no world_model.json; give a model folder, or run_dir=RUN of a fine-tune"),
        (True, {}, "evaluation.parquet"),
    ],
)
def test_what_is_missing_is_said(desk: Desk, has_model: bool, history: dict[int, object], said: str) -> None:
    (desk.run("a") / "finetune").mkdir(parents=True)
    if has_model:
        make_model(desk.run("a") / "model", "w")
    status, told = desk.promote("a")
    assert status == 2 and said in told
    assert desk.alias("candidate") == ""


def test_what_a_model_was_tuned_from_has_to_be_evaluated_too(desk: Desk) -> None:
    make_run(desk.run("a"), {100: make_evaluation(0.5)})
    status, told = desk.promote("a")
    assert status == 2 and "knows nothing of the model base: run `driveforge evaluate START" in told


def test_a_model_that_the_evaluation_has_not_seen_is_refused(desk: Desk) -> None:
    make_run(desk.run("a"), {0: make_evaluation(), 100: make_evaluation(0.5)})
    digest = make_model(desk.run("b") / "model", "other")
    (desk.run("b") / "evaluation.parquet").write_bytes((desk.run("a") / "evaluation.parquet").read_bytes())
    status, told = desk.promote("b")
    assert status == 2 and f"knows nothing of the model {digest}" in told
