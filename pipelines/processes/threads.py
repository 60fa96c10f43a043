"""One thread in every process that makes or measures clips.

Sums that are split over other numbers of threads come out different in their last bits, and so do the clips: whoever
makes a unit, on however many cores, has to use the same number. And threads of several processes that spin on shared
cores make each step many times slower.
"""

import os
import sys

NUM_THREADS = 1
# Read by libraries when they are loaded.
THREAD_ENVIRONMENT = {
    "OMP_NUM_THREADS": str(NUM_THREADS),
    "OPENBLAS_NUM_THREADS": str(NUM_THREADS),
    "MKL_NUM_THREADS": str(NUM_THREADS),
    "NUMBA_NUM_THREADS": str(NUM_THREADS),
    "OPENCV_FOR_THREADS_NUM": str(NUM_THREADS),
    "OMP_WAIT_POLICY": "PASSIVE",
}


def limit_threads() -> None:
    """Hold this process to ``NUM_THREADS``, in libraries that are loaded already and in those that are loaded later."""
    import cv2
    from threadpoolctl import threadpool_limits

    os.environ.update(THREAD_ENVIRONMENT)
    threadpool_limits(NUM_THREADS)
    cv2.setNumThreads(NUM_THREADS)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(NUM_THREADS)
    if "numba" in sys.modules:
        # Numba reads its environment again whenever it compiles, and refuses another number once it has threads.
        sys.modules["numba"].config.reload_config()
