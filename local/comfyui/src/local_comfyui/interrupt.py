"""Stops the running prompt from another thread."""

import threading


class Interrupted(Exception):  # noqa: N818 -- named after what happened; it unwinds a node, it is not a fault
    """Raised inside a node when its prompt was interrupted."""


class Interrupt:
    """A flag that a request sets and the executing thread checks between steps."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Stop the running prompt at its next check."""
        self._asked.set()

    def clear(self) -> None:
        """Forget earlier requests: called when a prompt leaves the queue, which an earlier interrupt must not stop."""
        self._asked.clear()

    def check(self) -> None:
        """Raise `Interrupted` once if the flag is set."""
        if self._asked.is_set():
            self._asked.clear()
            raise Interrupted
