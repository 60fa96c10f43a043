"""Worker processes that exit when their parent process terminates."""

import multiprocessing
import os
import threading


def exit_with_parent() -> None:
    """Exit when the parent process terminates; otherwise a worker of a killed parent would wait forever."""
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
