"""One cheap stage as a process: ``python -m tests.faults.staging gate RUN_DIR``."""

import sys
from pathlib import Path

from pipelines.export import export
from pipelines.gate import gate
from tests.faults.small_run import config_of

if __name__ == "__main__":
    config = config_of(Path(sys.argv[2]))
    print("begun", flush=True)
    {"gate": gate, "export": export}[sys.argv[1]](config)
