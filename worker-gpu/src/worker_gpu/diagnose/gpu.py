"""The GPU as `nvidia-smi` sees it, without torch in this process."""

import shutil
import subprocess
from dataclasses import dataclass

from worker_gpu.shape import Json, JsonObject

ASK_S = 20.0
"""A driver that hangs must not hang the start; nvidia-smi takes about a second after a cold boot."""
MIB = 1024 * 1024
_FIELDS = "name,driver_version,memory.total,memory.free,ecc.errors.uncorrected.volatile.total"


@dataclass(frozen=True)
class Gpus:
    """What is there. `problem`: the driver is there and does not work. `skipped`: there is nothing to look at."""

    names: tuple[str, ...] = ()
    driver: str | None = None
    memory_total_bytes: tuple[int, ...] = ()
    memory_free_bytes: tuple[int, ...] = ()
    problem: str | None = None
    skipped: str | None = None

    def to_wire(self) -> JsonObject:
        """As the reports carry it."""
        devices: list[Json] = [
            {"name": name, "memory_bytes": total, "memory_free_bytes": free}
            for name, total, free in zip(self.names, self.memory_total_bytes, self.memory_free_bytes, strict=True)
        ]
        return {"devices": devices, "driver": self.driver, "problem": self.problem, "skipped": self.skipped}


def look_at_gpus(program: str = "nvidia-smi") -> Gpus:
    """Ask the driver. Blocks for up to ASK_S. Never raises."""
    path = shutil.which(program)
    if path is None:
        return Gpus(skipped=f"no {program} here: not a machine with an NVIDIA GPU")
    try:
        asked = subprocess.run(  # noqa: S603 -- a program of the driver
            [path, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=ASK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Gpus(problem=f"{program} did not answer within {int(ASK_S)} seconds")
    except OSError as error:
        return Gpus(problem=f"{program} did not start ({type(error).__name__})")
    if asked.returncode != 0:
        text = " ".join((asked.stdout + asked.stderr).split())[:200]
        return Gpus(problem=f"{program} ended with {asked.returncode}: {text}")
    return read_gpus(asked.stdout)


def read_gpus(text: str) -> Gpus:
    """The table that `nvidia-smi` printed."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
    if not rows or any(len(row) != len(_FIELDS.split(",")) for row in rows):
        return Gpus(problem="the driver lists no GPU" if not rows else "the driver's list has another form")
    worn = [row[0] for row in rows if row[4].isdecimal() and int(row[4]) > 0]
    return Gpus(
        tuple(row[0] for row in rows),
        rows[0][1],
        tuple(_mib(row[2]) for row in rows),
        tuple(_mib(row[3]) for row in rows),
        problem=f"uncorrected memory errors on {worn[0]}" if worn else None,
    )


def _mib(text: str) -> int:
    return int(text) * MIB if text.isdecimal() else 0
