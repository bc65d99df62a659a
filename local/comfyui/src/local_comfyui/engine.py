"""Assembles the engine, and runs the thread that executes prompts from the queue."""

import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from local_comfyui.catalog import Catalog
from local_comfyui.executor import Current, Machinery, Outcome, execute
from local_comfyui.folders import Folders
from local_comfyui.interrupt import Interrupt
from local_comfyui.json_types import JsonObject
from local_comfyui.nodes import load_nodes
from local_comfyui.options import Options
from local_comfyui.prompt_queue import Freeing, PromptQueue, Queued
from local_comfyui.results import Results
from local_comfyui.sockets import Sockets

log = logging.getLogger(__name__)

DEEPEST_GRAPH = 20_000
"""Recursion limit of Python: validation and digests follow the links of a graph with a few calls per node."""


@dataclass(frozen=True)
class Engine:
    """The parts that routes use."""

    options: Options
    folders: Folders
    catalog: Catalog
    queue: PromptQueue
    sockets: Sockets
    machinery: Machinery
    numbers: "itertools.count[int]"
    features: JsonObject

    def work(self) -> None:
        """Run prompts until the queue is closed."""
        while True:
            task = self.queue.take()
            match task:
                case None:
                    return
                case Freeing():
                    if task.forget_results:
                        self.machinery.results.clear()
                case Queued():
                    self._run(task)

    def _run(self, task: Queued) -> None:
        try:
            outcome = execute(self.machinery, task.prompt_id, task.graph, task.prompt, task.extra_data, task.outputs)
        except Exception:  # A bug of the engine: end this prompt, or no other prompt would ever run.
            log.exception("local/comfyui failed outside a node; this is a bug in it")
            outcome = Outcome(False, {}, {}, [], {})
        status: JsonObject = {
            "status_str": "success" if outcome.success else "error",
            "completed": outcome.success,
            "messages": outcome.messages,
        }
        self.queue.finish({"outputs": outcome.outputs, "status": status, "meta": outcome.meta, **outcome.more})
        client = self.machinery.current.client
        if client is not None:
            self.sockets.send("executing", {"node": None, "prompt_id": task.prompt_id}, client)

    async def start(self) -> threading.Thread:
        """Prepare the folders and start the thread."""
        self.folders.prepare()
        await self.sockets.start()
        thread = threading.Thread(target=self.work, name="prompts", daemon=True)
        thread.start()
        return thread

    async def stop(self) -> None:
        """Interrupt the running prompt, start no further one, close the sockets."""
        self.queue.close()
        self.queue.interrupt(None)
        await self.sockets.stop()


def build_engine(options: Options, sleep: Callable[[float], None] = time.sleep, first_number: int = 0) -> Engine:
    """An engine that is not started yet; prompts are numbered from `first_number`."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), DEEPEST_GRAPH))
    folders = Folders(options.input, options.output, options.temp)
    catalog = Catalog(load_nodes(probe_nodes=options.probe_nodes))
    interrupt, current = Interrupt(), Current()
    features: JsonObject = {"supports_preview_metadata": True, "max_upload_size": options.max_upload_bytes}
    queue = PromptQueue(interrupt, lambda remaining: sockets.announce_queue(remaining))
    sockets = Sockets(features, current, queue.remaining)
    machinery = Machinery(
        implementations=catalog.implementations,
        is_output=catalog.is_output,
        folders=folders,
        channel=sockets,
        interrupt=interrupt,
        results=Results(keep=options.keep_results, size=options.cache_size),
        embed_metadata=options.metadata,
        sleep=sleep,
        current=current,
    )
    return Engine(options, folders, catalog, queue, sockets, machinery, itertools.count(first_number), features)
