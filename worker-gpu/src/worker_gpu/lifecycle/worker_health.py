"""When a worker is worn out: faults of the GPU that the next job would meet too."""

from worker_gpu.errors import JobError

_CUDA_FAULTS = (
    "unspecified launch failure",
    "an illegal memory access was encountered",
    "device-side assert triggered",
    "uncorrectable ecc error",
    "gpu is lost",
    "misaligned address",
)
"""After one of these the process's CUDA context is unusable (CUDA runtime API, error codes 214, 700, 710, 716, 719)."""


NEVER_STARTED = "ComfyUI does not start."


def requires_replacement(error: JobError | None) -> bool:
    """Whether RunPod should replace the worker after this error: memory that ran out twice in a row (the execution has
    freed it and tried again), a CUDA context that is lost, or a ComfyUI that does not start here."""
    if error is None:
        return False
    text = error.message.lower()
    return (
        error.code == "out_of_memory"
        or (error.code == "comfyui_unavailable" and error.message == NEVER_STARTED)
        or any(fault in text for fault in _CUDA_FAULTS)
    )
