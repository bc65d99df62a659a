"""Runs pulls in child processes that can be killed at any moment, without starting Python for each.

python puller.py <folder> <store url> <connections>

Reads lines of `<step> <share>`. For each it forks a child that pulls the whole manifest. At its `step`-th disk
operation (-1: never) the child kills itself; of a write it first does `share`. Prints `<pid>` when the child has
started, and its `<exit status>` when it has ended: 0 for a pull without errors, -9 after a kill.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.pulling import pull
from models.samples import settings
from worker_gpu.models.settings import Bucket, Credentials

TOUCHES = ("pwrite", "write", "posix_fallocate", "ftruncate", "open", "rename", "replace", "unlink", "mkdir")
"""Functions of `os` that change the disk. `Path.replace` and `Path.unlink` use them too."""


def main() -> None:
    folder, url, connections = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    bucket = Bucket(url, "models", Credentials("local", "local-secret"))
    for line in sys.stdin:
        step, share = line.split()
        child = os.fork()
        if child == 0:
            _die_at(int(step), float(share))
            try:
                errors = pull(settings(folder, bucket, connections)).errors
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
                os._exit(3)
            os._exit(1 if errors else 0)
        _say(child)
        _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _die_at(step: int, share: float) -> None:
    left = [step]

    def deadly(real: Callable[..., Any], partial: bool) -> Callable[..., Any]:
        def touch(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == -1:
                if partial:
                    fd, data, *rest = args
                    real(fd, bytes(data)[: int(len(data) * share)], *rest)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return touch

    for name in TOUCHES:
        setattr(os, name, deadly(getattr(os, name), name in ("pwrite", "write")))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
