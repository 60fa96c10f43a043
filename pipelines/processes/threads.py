"""One thread in every process that generates or measures clips.

Floating-point sums depend on the number of threads in their last bits, and so do the clips; so every process uses the
same number. Spinning threads of several processes on shared cores would also slow down each step many times.
"""

import os
import sys

NUM_THREADS = 1
# Libraries read these when they are loaded.
THREAD_ENVIRONMENT = {
    "OMP_NUM_THREADS": str(NUM_THREADS),
    "OPENBLAS_NUM_THREADS": str(NUM_THREADS),
    "MKL_NUM_THREADS": str(NUM_THREADS),
    "NUMBA_NUM_THREADS": str(NUM_THREADS),
    "OPENCV_FOR_THREADS_NUM": str(NUM_THREADS),
    "OMP_WAIT_POLICY": "PASSIVE",
}


def limit_threads() -> None:
    """Limit this process to ``NUM_THREADS``, in libraries that are already loaded and in those loaded later."""
    import cv2
    from threadpoolctl import threadpool_limits

    os.environ.update(THREAD_ENVIRONMENT)
    threadpool_limits(NUM_THREADS)
    cv2.setNumThreads(NUM_THREADS)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(NUM_THREADS)
    if "numba" in sys.modules:
        # Numba reads its environment again at every compilation, and refuses a change after it has started threads.
        sys.modules["numba"].config.reload_config()
