"""Passes what a run tells to those who want to know: the audience, the collector, the clock."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from worker_gpu.comfy.progress import Progress
from worker_gpu.json_readers import JsonObject
from worker_gpu.outputs.collect import Collector


class Viewer(Protocol):
    """Who follows a run from outside."""

    def progress(self, progress: Progress) -> None:
        """How far the graph is."""
        ...

    def preview(self, node: str, content_type: str, image: bytes) -> None:
        """A picture of a node at work."""
        ...


class Relay:
    """A `comfy.follow.Listener`. Pictures of a node that `sends` them as its result go to the collector; others are
    previews, passed on only if the client wants them. `shown` gives the share of the graph to show for the one it is
    at."""

    def __init__(
        self,
        viewer: Viewer,
        collector: Collector,
        sends: Callable[[str], bool],
        previews: bool,
        on_start: Callable[[], None],
        shown: Callable[[float], float],
    ) -> None:
        self._viewer = viewer
        self._shown = shown
        self._collector = collector
        self._sends = sends
        self._previews = previews
        self._on_start = on_start

    def started(self) -> None:
        """See `Listener`."""
        self._on_start()

    def progressed(self, progress: Progress) -> None:
        """See `Listener`."""
        self._viewer.progress(replace(progress, value=self._shown(progress.value)))

    def showed(self, node: str, output: JsonObject) -> None:
        """See `Listener`."""
        self._collector.on_node_output(node, output)

    def previewed(self, node: str, content_type: str, image: bytes) -> None:
        """See `Listener`."""
        if self._sends(node):
            self._collector.on_node_image(node, content_type, image)
        elif self._previews:
            self._viewer.preview(node, content_type, image)
