"""Passes what a run tells to those who want to know: the channel, the collector, the runner's clock."""

from collections.abc import Callable

from worker_gpu.comfy.progress import Progress
from worker_gpu.gateway.channel import Channel
from worker_gpu.outputs.collect import Collector
from worker_gpu.shape import JsonObject


class Relay:
    """A `comfy.follow.Listener`. Previews are passed on only if the client wants them."""

    def __init__(self, channel: Channel, collector: Collector, previews: bool, on_start: Callable[[], None]) -> None:
        self._channel = channel
        self._collector = collector
        self._previews = previews
        self._on_start = on_start

    def started(self) -> None:
        """See `Listener`."""
        self._on_start()

    def progressed(self, progress: Progress) -> None:
        """See `Listener`."""
        self._channel.progress(progress)

    def showed(self, node: str, output: JsonObject) -> None:
        """See `Listener`."""
        self._collector.showed(node, output)

    def previewed(self, node: str, content_type: str, image: bytes) -> None:
        """See `Listener`."""
        if self._previews:
            self._channel.preview(node, content_type, image)
