"""Worker processes end with the process that started them, however that ended."""

import multiprocessing
import os
import threading


def exit_with_parent() -> None:
    """Without this a process whose parent was killed would wait for work for ever."""
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
