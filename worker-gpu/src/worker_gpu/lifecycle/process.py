"""One child process: its last lines of output kept, its exit noticed, its end certain."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

TAIL_LINES = 60
"""Enough for a Python traceback and the lines that led to it."""
DRAIN_S = 1.0
"""How long an exit is kept back for the last lines, which are in the pipe: longer only where something that left the
process group holds it open."""
KILL_S = 5.0
"""A process that SIGKILL does not end within this is stuck in the kernel, as in a driver: waiting for it never ends."""
MAX_LINE_CHARS = 500
_FAILED_IMPORT = re.compile(r"\(IMPORT FAILED\):.*?([^/\\]+)[/\\]?\s*$")
"""ComfyUI's list of custom nodes at the end of its start: `   0.1 seconds (IMPORT FAILED): /…/custom_nodes/name`."""

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Newer versions of ComfyUI colour their lines, also into a pipe."""

_GUARD = Path(__file__).with_name("process_guard.py")


class Child:
    """A running program in a process group of its own, which ends with the worker. Made by `spawn`.

    Threads, not asyncio: the child is started before the event loop that runs jobs, and outlives it.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", on_line: Callable[[str], None], printed: int) -> None:
        self._process = process
        self._on_line = on_line
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._failed_imports: dict[str, None] = {}
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []
        self._printed = printed
        self._over = False
        self._exited = threading.Event()
        self._reader = threading.Thread(target=self._read, name="child-output", daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, name="child-exit", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id, also of the group."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False once it has exited."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def printed(self) -> int:
        """How many lines it has printed, counted on from those of the process before it."""
        with self._lock:
            return self._printed

    def tail(self, after: int = 0) -> list[str]:
        """Return the last lines of output, without the first `after` lines."""
        with self._lock:
            fresh = self._printed - after
            return list(self._tail)[-fresh:] if fresh > 0 else []

    def failed_imports(self) -> list[str]:
        """Folders of custom nodes that ComfyUI could not import, as it said while it started."""
        with self._lock:
            return list(self._failed_imports)

    async def wait_exit(self) -> None:
        """Return when it has exited."""
        loop = asyncio.get_running_loop()
        exited = asyncio.Event()

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(exited.set)

        with self._lock:
            if self._over:
                return
            self._watchers.append(tell)
        try:
            await exited.wait()
        finally:
            with self._lock:
                if tell in self._watchers:
                    self._watchers.remove(tell)

    def end(self, timeout_s: float) -> None:
        """Terminate the group; kill it when it has not gone after `timeout_s`. Blocks until it is gone."""
        self._signal(signal.SIGTERM)
        if not self._exited.wait(timeout_s):
            self.kill()

    def kill(self) -> None:
        """Kill the group at once. Blocks until it is gone, at most `KILL_S`."""
        self._signal(signal.SIGKILL)
        self._exited.wait(KILL_S)

    def _signal(self, number: signal.Signals) -> None:
        if not self._exited.is_set():
            self._signal_group(number)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _watch(self) -> None:
        self._process.wait()
        # What it started goes with it, and lets go of its output: else the reader would wait for that one's end.
        self._signal_group(signal.SIGKILL)
        self._exited.set()
        self._reader.join(DRAIN_S)
        with self._lock:
            self._over = True
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher()

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is not None:
            for raw in stream:
                line = _COLOUR.sub("", raw.decode("utf-8", "replace")).rstrip()[:MAX_LINE_CHARS]
                if not line:
                    continue
                with self._lock:
                    self._printed += 1
                    self._tail.append(line)
                    if (failed := _FAILED_IMPORT.search(line)) is not None:
                        self._failed_imports[failed.group(1)] = None
                self._on_line(line)


def spawn(
    command: list[str], folder: Path, env: Mapping[str, str], on_line: Callable[[str], None], printed: int = 0
) -> Child:
    """Start `command` in `folder` with exactly `env`; `on_line` gets each line it prints, in another thread, counted on
    from `printed`. Raises `OSError`."""
    process = subprocess.Popen(  # noqa: S603 -- the command comes from the worker's own settings
        [sys.executable, "-I", str(_GUARD), str(os.getpid()), *command],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Child(process, on_line, printed)
