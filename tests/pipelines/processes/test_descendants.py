"""Processes that a block started have ended after it, including orphans."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from driveforge.pipelines.processes.descendants import terminate_descendants

# A process that starts another one and exits, so that the other becomes an orphan.
ORPHAN = """
import subprocess, sys
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
print(subprocess.Popen(sleeper, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted only on Linux")
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_children_and_orphans_end_with_the_block(error: type[BaseException] | None) -> None:
    before = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        try:
            with terminate_descendants():
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                orphan = int(subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, check=True).stdout)
                assert psutil.pid_exists(orphan)
                if error:
                    raise error
        except KeyboardInterrupt:
            pass
        assert child.poll() is not None or child.wait(5) is not None
        assert not Path(f"/proc/{orphan}").exists()
        assert before.poll() is None, "earlier processes are not affected"
    finally:
        before.kill()
        before.wait()


def test_processes_have_time_to_exit(tmp_path: Path) -> None:
    code = f"import time; time.sleep(0.5); open({str(tmp_path / 'done')!r}, 'w').close()"
    start = time.monotonic()
    with terminate_descendants():
        subprocess.Popen([sys.executable, "-c", code])
    assert (tmp_path / "done").exists() and time.monotonic() - start < 60
