"""Without a terminal, progress is logged in periodic lines."""

import subprocess
import sys

WORK = """
import time
from driveforge.datasets import progress
progress.LOG_INTERVAL_S = 0.2
with progress.log_progress("cache"):
    with progress.show_status("Listing clips"):
        time.sleep(0.3)
    for number in progress.track(range(3), "Encoding"):
        time.sleep(0.3)
    time.sleep(0.3)
"""


def test_lines_state_the_current_work_and_its_progress() -> None:
    ended = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    said = [line.split(",")[0] for line in ended.stderr.splitlines()]
    assert said[0] == "cache: Listing clips"
    assert "cache: Encoding 1 of 3" in said and said[-1] == "cache: running"
