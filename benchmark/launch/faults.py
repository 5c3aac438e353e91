"""Whose fault an error is: the run's, or that of the machine that carried the run out.

On a bad machine every run ends in an error, and none of them is to blame. Such a run stays
interrupted, and the process ends, so that whoever started it can go on elsewhere.
"""

import errno

from benchmark.records.claims import host
from mmdg_common import causes

DISK = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the quota is used up",
    errno.ESTALE: "a stale file handle",
    errno.EIO: "an input/output error",
    errno.EROFS: "a file system that can only be read",
}
CUDA = (
    "CUDA error",
    "CUDA driver",
    "CUDA unknown error",
    "No CUDA GPUs",
    "not compiled with CUDA",
    "cuDNN error",
    "CUBLAS_STATUS",
    "NVML",
)
"""What torch's errors say of a GPU, driver or context that does not work any more."""
OF_THE_RUN = ("out of memory", "device-side assert")
"""Errors of CUDA that a run can cause by itself."""


def of_machine(error: BaseException) -> str:
    """Return what is wrong with the machine, if an error says so; else nothing."""
    for one in causes(error):
        if isinstance(one, OSError) and one.errno in DISK:
            return f"{DISK[one.errno]} ({one})"
        if _of_cuda(one) and not any(text in str(one) for text in OF_THE_RUN):
            return str(one).splitlines()[0]
    return ""


def ends_process(error: BaseException) -> bool:
    """Return whether nothing more can be computed in this process after an error."""
    return bool(of_machine(error)) or any(
        _of_cuda(one) and "device-side assert" in str(one) for one in causes(error)
    )


def described(reason: str) -> str:
    """Return a line for people about a machine that cannot carry out runs."""
    return f"{host()} cannot carry out runs: {reason}"


def _of_cuda(error: BaseException) -> bool:
    return isinstance(error, RuntimeError | AssertionError) and any(
        text in str(error) for text in CUDA
    )
