"""Run a command that ends with the calling process, even if that is killed: ``python supervise.py COMMAND ...``.

Standard input is a pipe whose other end is held by the caller. The kernel closes it when the caller terminates, even by
SIGKILL; then the process group of the command is terminated.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 10.0


def main(command: list[str]) -> int:
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda signum, frame: sys.exit(128 + signum))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        return child.wait()
    finally:
        _end_group(child)


def _exit_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _end_group(leader: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        os.killpg(leader.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            leader.poll()  # reap it, else it stays in the group as a zombie
            os.killpg(leader.pid, 0)
            time.sleep(0.05)
        os.killpg(leader.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
