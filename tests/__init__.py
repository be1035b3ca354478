"""The tests. What NumPy and PyTorch read when they are loaded is set here, before any test imports them."""

import os

from app.cores import available_cores

if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Processes share the cores: a pool of threads for all cores in each would only take turns.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(max(1, available_cores() // int(processes))))
