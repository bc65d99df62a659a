"""Who may write to a folder that several machines share: one at a time, and nobody for ever.

Built on what every shared file system does for all its clients at once: to make a file that must not exist, to rename
one and to link one. A writer may lose its lease (it stood still for too long, or two who wanted to take over met);
it asks before each thing that matters, so there is at most one writer, and now and then none.
"""

import contextlib
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LEASE_S = 120.0
"""A writer that has not renewed its lease for this long is dead. It renews with every piece it writes."""
_OWNER_BYTES = 100
EXPIRED_PREFIX = "dead."
"""How the name begins of a lease that was moved aside."""


@dataclass(frozen=True)
class _LeaseFile:
    owner: bytes
    mtime_ns: int


class Lease:
    """One machine's wish to write. The file `path` holds the name of who may."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self.owner = uuid.uuid4().hex
        self._path = path
        self._now = now

    def acquire(self) -> bool:
        """Whether this machine may write from now on. Raises `OSError`."""
        for _ in range(2):
            if self._create():
                return True
            seen = _read_lease(self._path)
            if seen is None:
                continue
            if self._now() - seen.mtime_ns / 1e9 < LEASE_S or not self._remove_expired(seen):
                return False
        return False

    def renew(self) -> bool:
        """Whether this machine still may; if so, for another `LEASE_S`."""
        moment = self._now()
        seen = _read_lease(self._path)
        if seen is None or seen.owner != self.owner.encode():
            return False
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._path, (moment, moment))
            return True
        return False

    def release(self) -> None:
        """Let the next one in."""
        with contextlib.suppress(OSError):
            seen = _read_lease(self._path)
            if seen is not None and seen.owner == self.owner.encode():
                self._path.unlink()

    def _create(self) -> bool:
        try:
            fd = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(fd, self.owner.encode())
        finally:
            os.close(fd)
        return self.renew()

    def _remove_expired(self, expired: _LeaseFile) -> bool:
        """Take the lease of a dead writer away; False when there is somebody alive. Moved aside rather than deleted, to
        see what it was: another machine may have taken it over since it was looked at."""
        aside = self._path.with_name(f"{EXPIRED_PREFIX}{self.owner}")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return True
        moved = _read_lease(aside)
        if moved != expired:
            # Where that fails (a third machine was faster), whose lease it is finds out when it renews it.
            with contextlib.suppress(OSError):
                os.link(aside, self._path)
        aside.unlink(missing_ok=True)
        return moved == expired


def _read_lease(path: Path) -> _LeaseFile | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _LeaseFile(os.read(fd, _OWNER_BYTES), os.fstat(fd).st_mtime_ns)
    finally:
        os.close(fd)
