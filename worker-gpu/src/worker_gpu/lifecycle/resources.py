"""Free memory and disk, and the check before a job: a run that is bound to fail does not start."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from worker_gpu.errors import JobError
from worker_gpu.settings import MIB


@dataclass(frozen=True)
class Resources:
    """Bytes free now. Memory is None where the system does not tell."""

    memory_free_bytes: int | None
    disk_free_bytes: int


def measure(folder: Path, root: Path = Path("/")) -> Resources:
    """What is free: memory by the kernel and by the container's limit, whichever is less; disk where `folder` lies.

    `root` is where /proc and /sys are found.
    """
    known = [free for free in (_system_memory(root), _cgroup2_memory(root), _cgroup1_memory(root)) if free is not None]
    return Resources(min(known, default=None), shutil.disk_usage(folder).free)


def check(found: Resources, min_memory_bytes: int, min_disk_bytes: int) -> None:
    """Raises `JobError` `insufficient_resources` when less is free than asked for."""
    memory = found.memory_free_bytes
    if memory is not None and memory < min_memory_bytes:
        raise JobError(
            "insufficient_resources",
            f"The worker has {memory // MIB} MB of memory free and needs {min_memory_bytes // MIB} MB.",
            details={"memory_free_bytes": memory, "memory_needed_bytes": min_memory_bytes},
        )
    if found.disk_free_bytes < min_disk_bytes:
        raise JobError(
            "insufficient_resources",
            f"The worker has {found.disk_free_bytes // MIB} MB of disk free and needs {min_disk_bytes // MIB} MB.",
            details={"disk_free_bytes": found.disk_free_bytes, "disk_needed_bytes": min_disk_bytes},
        )


def _system_memory(root: Path) -> int | None:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup2_memory(root: Path) -> int | None:
    group = root / "sys/fs/cgroup"
    limit, used = _read(group / "memory.max").strip(), _read(group / "memory.current").strip()
    if not limit.isdecimal() or not used.isdecimal():
        return None
    return int(limit) - int(used) + _reclaimable(group / "memory.stat", "inactive_file")


def _cgroup1_memory(root: Path) -> int | None:
    group = root / "sys/fs/cgroup/memory"
    limit, used = _read(group / "memory.limit_in_bytes").strip(), _read(group / "memory.usage_in_bytes").strip()
    if not limit.isdecimal() or not used.isdecimal():
        return None
    return int(limit) - int(used) + _reclaimable(group / "memory.stat", "total_inactive_file")


def _reclaimable(path: Path, name: str) -> int:
    """Page cache counts as used but is reclaimed under pressure, so model files read once must not block a job."""
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name:
            return int(words[1])
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
