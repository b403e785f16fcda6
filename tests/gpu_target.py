"""Where the Python GPU tests run. PENSTOCK_GPU_TESTS_ON=host runs the very same scripts against the host device, to try
the scripts themselves on a machine without a card; it proves nothing about a GPU."""

import ctypes
import os

import pytest

BACKEND = os.environ.get("PENSTOCK_GPU_TESTS_ON", "cuda")
# As PENSTOCK_REQUIRE_GPU in tests/cuda/gpu_test.h: ctest counts a test that prints it as skipped.
NOT_RUN = "no CUDA device: this GPU test was not run"


def card_count():
    """By the driver, without a context and without torch. A driver that is there but fails counts as a card: the tests
    are then to fail."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    no_device = 100
    status = driver.cuInit(0)
    if status == no_device:
        return 0
    count = ctypes.c_int(0)
    if status != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 1
    return count.value


assert BACKEND in ("cuda", "host"), f"PENSTOCK_GPU_TESTS_ON={BACKEND}: cuda or host"
requires_gpu = pytest.mark.skipif(BACKEND == "cuda" and card_count() == 0, reason=NOT_RUN)
# torch's name of the device that the oracle computes on.
TORCH_DEVICE = "cuda" if BACKEND == "cuda" else "cpu"
