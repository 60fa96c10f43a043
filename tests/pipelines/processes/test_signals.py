"""Signals end a command and all processes that it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SWALLOWED = """
import sys
from driveforge.pipelines import cli
def work(config, args):
    print("started", flush=True)
    try:
        import time
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(1)  # as Lightning does
import types
module = types.ModuleType("driveforge.pipelines.export.verify")
module.main = work
sys.modules["driveforge.pipelines.export.verify"] = module
sys.exit(cli.main(["verify"]))
"""

PARALLEL = """
import os, sys, time
from pathlib import Path
from driveforge.pipelines.processes.parallel import parallel_map
def work(item):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(120)
if __name__ == "__main__":
    from driveforge.pipelines.processes.signals import interruptible
    with interruptible() as stop:
        try:
            list(parallel_map(work, range(4)))
        except KeyboardInterrupt:
            sys.exit(stop.status)
"""


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_status_is_that_of_the_signal_even_if_a_library_exits(signum: int, status: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SWALLOWED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    process.send_signal(signum)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (status, "driveforge: interrupted\n")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command(signum: int, tmp_path: Path) -> None:
    script, pids = tmp_path / "work.py", tmp_path / "pids"
    script.write_text(PARALLEL)
    pids.mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, str(script), str(pids)], env=environment, stderr=subprocess.PIPE, text=True
    )
    expected = min(os.cpu_count() or 1, 4)
    assert wait_until(lambda: len(list(pids.iterdir())) == expected)
    workers = [int(path.name) for path in pids.iterdir()]
    process.send_signal(signum)
    _, err = process.communicate(timeout=30)
    assert process.returncode == (-9 if signum == signal.SIGKILL else 128 + signum)
    assert "Traceback" not in err
    assert wait_until(lambda: not any(map(is_alive, workers)), 10)


def test_ctrl_c_in_a_terminal_prints_no_tracebacks(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(PARALLEL)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script), str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert wait_until(lambda: len(list(tmp_path.iterdir())) > 1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
