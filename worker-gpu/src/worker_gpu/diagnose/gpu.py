"""The GPUs that `nvidia-smi` reports. This process does not load torch."""

import shutil
import subprocess
from dataclasses import dataclass

from worker_gpu.json_readers import Json, JsonObject

NVIDIA_SMI_TIMEOUT_S = 20.0
"""A hung driver must not hang the start. nvidia-smi takes about a second after a cold boot."""
MIB = 1024 * 1024
_FIELDS = "name,driver_version,memory.total,memory.free,ecc.errors.uncorrected.volatile.total"


@dataclass(frozen=True)
class Gpus:
    """The GPUs of the machine. `problem` says why the driver does not work, `skipped` why there is nothing to check."""

    names: tuple[str, ...] = ()
    driver: str | None = None
    memory_total_bytes: tuple[int, ...] = ()
    memory_free_bytes: tuple[int, ...] = ()
    problem: str | None = None
    skipped: str | None = None

    def to_wire(self) -> JsonObject:
        """The `gpu` of a report."""
        devices: list[Json] = [
            {"name": name, "memory_bytes": total, "memory_free_bytes": free}
            for name, total, free in zip(self.names, self.memory_total_bytes, self.memory_free_bytes, strict=True)
        ]
        return {"devices": devices, "driver": self.driver, "problem": self.problem, "skipped": self.skipped}


def query_gpus(program: str = "nvidia-smi") -> Gpus:
    """Query the driver. Blocks for up to NVIDIA_SMI_TIMEOUT_S. Never raises."""
    path = shutil.which(program)
    if path is None:
        return Gpus(skipped=f"{program} is not installed: this machine has no NVIDIA GPU")
    try:
        done = subprocess.run(  # noqa: S603 -- a program of the driver
            [path, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Gpus(problem=f"{program} did not answer within {int(NVIDIA_SMI_TIMEOUT_S)} seconds")
    except OSError as error:
        return Gpus(problem=f"{program} did not start ({type(error).__name__})")
    if done.returncode != 0:
        text = " ".join((done.stdout + done.stderr).split())[:200]
        return Gpus(problem=f"{program} exited with code {done.returncode}: {text}")
    return read_gpus(done.stdout)


def read_gpus(text: str) -> Gpus:
    """Parse the table that `nvidia-smi` printed."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
    if not rows or any(len(row) != len(_FIELDS.split(",")) for row in rows):
        return Gpus(problem="the driver lists no GPU" if not rows else "the output of the driver has an unknown format")
    faulty = [row[0] for row in rows if row[4].isdecimal() and int(row[4]) > 0]
    return Gpus(
        tuple(row[0] for row in rows),
        rows[0][1],
        tuple(_mib(row[2]) for row in rows),
        tuple(_mib(row[3]) for row in rows),
        problem=f"uncorrected memory errors on {faulty[0]}" if faulty else None,
    )


def _mib(text: str) -> int:
    return int(text) * MIB if text.isdecimal() else 0
