"""Runs a program that cannot outlive the worker: `python process_guard.py PARENT_PID PROGRAM ARGS…`.

A worker killed with SIGKILL cannot end its ComfyUI, which would keep the GPU. Linux can: a process may ask for a signal
at its parent's death, and keeps that over exec. Done in a program of its own since code between fork and exec must not
wait for locks. Elsewhere than on Linux the program runs untethered.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def hide_from_others() -> None:
    """Let no other process of this user read this one's memory or environment (`/proc/PID/environ`), as a custom node
    could. A program that this process starts is not hidden."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def end_forks_with_parent() -> None:
    """From now on every process forked from this one dies with it. Call it once."""
    parent = 0

    def before() -> None:
        nonlocal parent
        parent = os.getpid()

    def in_child() -> None:
        die_with_parent()
        if os.getppid() != parent:  # it died before the signal was asked for
            os._exit(1)

    os.register_at_fork(before=before, after_in_child=in_child)


def main(argv: list[str]) -> None:
    """Tie the life of this process to PARENT_PID and become PROGRAM."""
    parent, program = int(argv[1]), argv[2:]
    die_with_parent()
    if os.getppid() != parent:  # it died before the signal was asked for
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606 -- no shell is the point


if __name__ == "__main__":
    main(sys.argv)
