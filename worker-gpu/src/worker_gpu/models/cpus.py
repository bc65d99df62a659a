"""How many processors this process may use. In a container that is not what the machine has."""

import contextlib
import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """The processors the process may run on, or what its container's quota pays for if that is less; at least one.
    `os.cpu_count` says what the machine has: 128, where a slice of it was rented."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    # Half a processor more is worth a connection more.
    return max(1, min(allowed, math.ceil(quota) if quota is not None else allowed))


def _quota_v2(cgroup: Path) -> float | None:
    """`cpu.max`: `<microseconds> <of so many>`, or `max` for no limit."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        given, _, period = (cgroup / "cpu.max").read_text("ascii").strip().partition(" ")
        return _share(given, period)
    return None


def _quota_v1(cgroup: Path) -> float | None:
    """The same in two files; -1 for no limit."""
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
