"""A lease on writing to a folder that several machines share: one writer at a time, until it stops renewing.

It uses operations that are atomic on every shared file system: create a file exclusively, rename it, link it. A writer
can lose its lease, if it pauses for too long or if two machines take over at once. It checks the lease before each
step that matters, so there is at most one writer, and sometimes none.
"""

import contextlib
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LEASE_S = 120.0
"""A lease that was not renewed for this long has expired. A writer renews it with every piece that it writes."""
_OWNER_BYTES = 100
EXPIRED_PREFIX = "dead."
"""The prefix of an expired lease that was moved aside."""


@dataclass(frozen=True)
class _LeaseFile:
    owner: bytes
    mtime_ns: int


class Lease:
    """The lease of one machine. The file at `path` contains the id of the owner."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self.owner = uuid.uuid4().hex
        self._path = path
        self._now = now

    def acquire(self) -> bool:
        """Try to get the lease. Returns whether this machine may write. Raises `OSError`."""
        for _ in range(2):
            if self._create():
                return True
            current = _read_lease(self._path)
            if current is None:
                continue
            if self._now() - current.mtime_ns / 1e9 < LEASE_S or not self._remove_expired(current):
                return False
        return False

    def renew(self) -> bool:
        """Extend the lease by `LEASE_S`. Returns False if this machine has lost it."""
        moment = self._now()
        current = _read_lease(self._path)
        if current is None or current.owner != self.owner.encode():
            return False
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._path, (moment, moment))
            return True
        return False

    def release(self) -> None:
        """Delete the lease if this machine owns it."""
        with contextlib.suppress(OSError):
            current = _read_lease(self._path)
            if current is not None and current.owner == self.owner.encode():
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
        """Remove an expired lease. Returns False if it turns out to be another machine's. It is moved aside and not
        deleted, so that its content can be checked: another machine may have taken over since it was read."""
        aside = self._path.with_name(f"{EXPIRED_PREFIX}{self.owner}")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return True
        moved = _read_lease(aside)
        if moved != expired:
            # If a third machine was faster, this fails, and the owner notices when it renews its lease.
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
