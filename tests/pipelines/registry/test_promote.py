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
from tests.pipelines.promotion_runs import MOTION, make_evaluation, make_model, make_run

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the module, since creating it takes seconds; its path contains a space."""
    folder = tmp_path_factory.mktemp("my runs")
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder


class CommandLine:
    """The commands for the models of one name in the store."""

    def __init__(self, runs: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.runs, self.name, self.capsys = runs, name, capsys
        self.client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")

    @property
    def settings(self) -> list[str]:
        return [f"promote.registered_as={self.name}", f"promote.dynamics=[{MOTION}]"]

    def run(self, name: str) -> Path:
        return self.runs / f"{self.name}-{name}"

    def promote(self, name: str, *more: str) -> tuple[int, str]:
        return self.call("promote", f"run_dir={self.run(name)}", *more)

    def rollback(self) -> tuple[int, str]:
        return self.call("rollback", f"run_dir={self.run('any')}")

    def call(self, *words: str) -> tuple[int, str]:
        self.capsys.readouterr()
        status = main([*words, *self.settings])
        captured = self.capsys.readouterr()
        return status, " ".join((captured.out + captured.err).split())

    def alias(self, alias: str) -> str:
        """The number of the version with the alias, or "" if there is none."""
        try:
            return str(self.client.get_model_version_by_alias(self.name, alias).version)
        except mlflow.exceptions.MlflowException:
            return ""

    @property
    def champion(self) -> str:
        return self.alias("champion")


@pytest.fixture
def commands(
    runs: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    # The picture has its own tests; plotting it takes as long as all the rest.
    monkeypatch.setattr(stage, "plot_promotion", lambda path, *_: path.write_bytes(b"a picture"))
    return CommandLine(runs, request.node.name.removeprefix("test_").replace("[", "-").replace("]", "")[:60], capsys)


def promote_all(commands: CommandLine, *names: str) -> list[str]:
    """Promote models in order, each 0.5 dB better than the previous one; returns their digests."""
    digests = []
    for number, name in enumerate(names):
        digests.append(make_run(commands.run(name), {0: make_evaluation(), 100: make_evaluation(0.5 * (number + 1))}))
        assert commands.promote(name)[0] == 0
    return digests


def test_an_improved_model_becomes_champion_and_the_next_start_checkpoint(commands: CommandLine) -> None:
    digest = make_run(commands.run("a"), {0: make_evaluation(), 50: make_evaluation(0.3), 100: make_evaluation(0.5)})
    status, output = commands.promote("a")
    assert status == 0
    assert f"PROMOTED version 1 ({digest}) is champion, the first one" in output
    assert "improved driving, next_frame/psnr: 20.8 -> 21.3, better by 2.4 %" in output
    assert (commands.champion, commands.alias("candidate")) == ("1", "1")
    config = compose([f"run_dir={commands.run('tomorrow')}", "model.checkpoint=champion", *commands.settings])
    assert compute_model_digest(resolve_checkpoint(config)) == digest


def test_a_regression_is_refused_with_domain_measure_and_change(commands: CommandLine) -> None:
    promote_all(commands, "a")
    make_run(commands.run("b"), {0: make_evaluation(), 100: make_evaluation(2.0, {"orbit": 0.4})})
    status, output = commands.promote("b")
    assert status == 1
    assert "REFUSED version 2" in output and "version 1" in output
    assert f"regressed orbit, {MOTION}: 0.86 -> 1.2, worse by 40 %" in output
    assert (commands.champion, commands.alias("candidate")) == ("1", "2")
    version = commands.client.get_model_version(commands.name, "2")
    assert version.description.startswith("refused against version 1\norbit, points/static")
    artifacts = {file.path for file in commands.client.list_artifacts(version.run_id)}
    assert artifacts == {"model", "evaluation.parquet", "origin.parquet", "promotion.json", "promotion.png"}
    run = commands.client.get_run(version.run_id)
    assert (run.info.status, run.data.tags["driveforge.promoted"]) == ("FINISHED", "false")
    assert run.data.metrics[f"regression/champion/orbit/{MOTION}"] == pytest.approx(0.4, abs=0.01)
    forgotten = run.data.metrics[f"forgetting/{MOTION}"]
    assert forgotten == -run.data.metrics[f"backward_transfer/{MOTION}"] == pytest.approx(0.4 * 0.86 / 2, abs=0.01)
    logged = json.loads(Path(commands.client.download_artifacts(version.run_id, "promotion.json")).read_text())
    assert logged["is_promoted"] is False
    assert {check["state"] for check in logged["checks"]} == {"improved", "retained", "regressed"}


def test_an_inconclusive_comparison_is_refused(commands: CommandLine) -> None:
    make_run(commands.run("a"), {0: make_evaluation(), 100: make_evaluation(0.5, spread=0.3)})
    status, output = commands.promote("a")
    assert status == 1
    assert "inconclusive" in output and "more than 5 %" in output
    assert "there is no champion yet" in output
    assert (commands.champion, commands.alias("candidate")) == ("", "1")
    assert commands.promote("a", "promote.min_clips=11")[1].count("10 of 10 clips, 11 are needed") == 4
    assert commands.alias("candidate") == "1", "the same files give the same version"


def test_without_improvement_the_champion_is_kept(commands: CommandLine) -> None:
    promote_all(commands, "a")
    make_run(commands.run("b"), {0: make_evaluation(), 100: make_evaluation(0.2)})
    status, output = commands.promote("b")
    assert status == 1 and "not improved driving, next_frame/psnr: 21.3 -> 21" in output
    assert commands.champion == "1"


def test_small_regressions_do_not_accumulate(commands: CommandLine) -> None:
    for night, regression in enumerate((0.02, 0.04, 0.06)):
        make_run(
            commands.run(str(night)),
            {0: make_evaluation(), 100: make_evaluation(0.5 + night, {"orbit": regression}, spread=0.001)},
        )
    output = [commands.promote(str(night)) for night in range(3)]
    assert [status for status, _ in output] == [0, 0, 1]
    reasons = output[2][1].split("retained in")[0]
    assert "regressed orbit" in reasons and "against the base" in reasons and "against the champion" not in reasons


def test_another_protocol_is_refused_unless_the_champion_was_evaluated_under_it(commands: CommandLine) -> None:
    (champion,) = promote_all(commands, "a")
    make_run(commands.run("b"), {0: make_evaluation(protocol="p2"), 100: make_evaluation(1.0, protocol="p2")})
    status, output = commands.promote("b")
    assert (
        status == 2 and f"{champion} under 'p1', the candidate under 'p2'; run `driveforge evaluate champion" in output
    )
    assert commands.alias("candidate") == "1", "nothing was registered"
    both = {(0, "base"): make_evaluation(protocol="p2"), (100, champion): make_evaluation(0.5, protocol="p2")}
    make_run(commands.run("c"), {**both, 100: make_evaluation(1.0, protocol="p2")})
    assert commands.promote("c")[0] == 0
    assert commands.champion == "2"


def test_the_champion_is_not_promoted_again(commands: CommandLine) -> None:
    promote_all(commands, "a")
    assert commands.promote("a") == (
        0,
        f"version 1 ({compute_model_digest(commands.run('a') / 'model')}) is already champion",
    )


def test_rollback_goes_back_to_the_first_champion(commands: CommandLine) -> None:
    first, second, third = promote_all(commands, "a", "b", "c")
    assert commands.champion == "3"
    status, output = commands.rollback()
    assert status == 0 and output.startswith(f"version 2 ({second}) is champion again; version 3 ({third})")
    assert commands.champion == "2"
    assert commands.rollback()[0] == 0
    assert commands.champion == "1"
    status, output = commands.rollback()
    assert status == 2 and f"version 1 ({first}) is the first champion: there is nothing to roll back to" in output
    assert commands.champion == "1"


def test_a_rolled_back_model_is_promoted_only_after_its_tag_is_deleted(commands: CommandLine) -> None:
    promote_all(commands, "a", "b")
    commands.rollback()
    status, output = commands.promote("b")
    assert status == 2 and "was rolled back" in output and "driveforge.rolled_back" in output
    assert commands.champion == "1"
    commands.client.delete_model_version_tag(commands.name, "2", "driveforge.rolled_back")
    assert commands.promote("b")[0] == 0
    assert commands.champion == "2"


def test_an_alias_moved_by_hand_is_respected(commands: CommandLine) -> None:
    promote_all(commands, "a", "b")
    make_run(commands.run("c"), {0: make_evaluation(), 100: make_evaluation(0.7)})
    assert commands.promote("c")[0] == 1, "not better than b"
    commands.client.set_registered_model_alias(commands.name, "champion", "1")
    assert commands.promote("c")[0] == 0, "but better than a"
    assert commands.champion == "3"
    assert commands.rollback()[0] == 0
    assert commands.champion == "1"


def test_a_champion_set_manually_cannot_be_rolled_back(commands: CommandLine) -> None:
    promote_all(commands, "a")
    make_run(commands.run("b"), {0: make_evaluation(), 100: make_evaluation(0.2)})
    commands.promote("b")
    commands.client.set_registered_model_alias(commands.name, "champion", "2")
    status, output = commands.rollback()
    assert status == 2 and "was made champion manually" in output
    assert commands.champion == "2"


def test_a_killed_promotion_changes_nothing_and_concurrent_ones_are_serialized(commands: CommandLine) -> None:
    promote_all(commands, "a")
    for name in ("killed", "b", "c"):
        make_run(commands.run(name), {0: make_evaluation(), 100: make_evaluation(1.0)})
    runs = [str(commands.run(name)) for name in ("killed", "b", "c")]
    command = [sys.executable, "-m", "tests.pipelines.promotion_runs", *runs, *commands.settings]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    killed, *statuses = map(int, done.stdout.split())
    assert killed == -signal.SIGKILL, done.stderr
    assert sorted(statuses) == [0, 1], done.stderr
    winner = {0: "b", 1: "c"}[statuses.index(0)]
    version = commands.client.get_model_version_by_alias(commands.name, "champion")
    assert version.tags["driveforge.digest"] == compute_model_digest(commands.run(winner) / "model")
    assert version.tags["driveforge.champion_before"] == "1", "the killed promotion had no effect"


def test_a_resumed_fine_tune_keeps_its_start_champion(commands: CommandLine) -> None:
    (first,) = promote_all(commands, "a")
    night = compose([f"run_dir={commands.run('night')}", "model.checkpoint=champion", *commands.settings])
    assert compute_model_digest(resolve_start_checkpoint(night)) == first
    second = make_run(commands.run("b"), {0: make_evaluation(), 100: make_evaluation(1.0)})
    assert commands.promote("b")[0] == 0
    assert (compute_model_digest(resolve_start_checkpoint(night)), compute_model_digest(resolve_checkpoint(night))) == (
        first,
        second,
    )


def test_without_a_champion_the_setting_is_refused(commands: CommandLine, tmp_path: Path) -> None:
    config = compose([f"run_dir={commands.run('a')}", "model.checkpoint=champion", *commands.settings])
    with pytest.raises(
        UserError, match=r"there is no champion yet; use model.checkpoint=base until `driveforge promote`"
    ):
        resolve_checkpoint(config)
    with pytest.raises(UserError, match="no models are registered"):
        resolve_checkpoint(compose([f"run_dir={tmp_path / 'a'}", "model.checkpoint=champion"]))
    assert not list(tmp_path.iterdir()), "looking for a champion does not create a store"
    assert resolve_start_checkpoint(compose([f"run_dir={tmp_path / 'a'}"])) == BASE


@pytest.mark.parametrize(
    ("has_model", "expected"),
    [
        (False, "holds no world_model.json; give a model folder, or run_dir=RUN of a fine-tune"),
        (True, "evaluation.parquet"),
    ],
)
def test_missing_files_are_named(commands: CommandLine, has_model: bool, expected: str) -> None:
    (commands.run("a") / "finetune").mkdir(parents=True)
    if has_model:
        make_model(commands.run("a") / "model", "w")
    status, output = commands.promote("a")
    assert status == 2 and expected in output
    assert commands.alias("candidate") == ""


def test_the_start_checkpoint_must_be_evaluated(commands: CommandLine) -> None:
    make_run(commands.run("a"), {100: make_evaluation(0.5)})
    status, output = commands.promote("a")
    assert status == 2 and "holds no evaluation of the model base: run `driveforge evaluate START" in output


def test_a_model_without_an_evaluation_is_refused(commands: CommandLine) -> None:
    make_run(commands.run("a"), {0: make_evaluation(), 100: make_evaluation(0.5)})
    digest = make_model(commands.run("b") / "model", "other")
    (commands.run("b") / "evaluation.parquet").write_bytes((commands.run("a") / "evaluation.parquet").read_bytes())
    status, output = commands.promote("b")
    assert status == 2 and f"holds no evaluation of the model {digest}" in output
