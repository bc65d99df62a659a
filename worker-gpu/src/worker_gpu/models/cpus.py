"""The number of CPUs that this process may use, which in a container is not the number of the machine."""

import contextlib
import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """The CPUs in the process's affinity, or its container's CPU quota if that is less; at least one. `os.cpu_count`
    is the number of the machine: 128 where only a part of it is rented."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    # Rounded up: half a CPU can serve further connections.
    return max(1, min(allowed, math.ceil(quota) if quota is not None else allowed))


def _quota_v2(cgroup: Path) -> float | None:
    """cgroup v2: `cpu.max` contains `<quota> <period>` in microseconds; the quota is `max` without a limit."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        given, _, period = (cgroup / "cpu.max").read_text("ascii").strip().partition(" ")
        return _share(given, period)
    return None


def _quota_v1(cgroup: Path) -> float | None:
    """cgroup v1: quota and period are two files; the quota is -1 without a limit."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        given, period = (
            (cgroup / "cpu" / name).read_text("ascii").strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
        return _share(given, period)
    return None


def _share(given: str, period: str) -> float | None:
    if not given.isdecimal() or not period.isdecimal() or int(given) == 0 or int(period) == 0:
        return None
    return int(given) / int(period)
