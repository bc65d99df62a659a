"""Executes a prompt, node after node, in the order and with the messages of ComfyUI."""

import logging
import random
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from PIL import Image

from local_comfyui.folders import Folders
from local_comfyui.graph import Graph, Link, Node, as_link
from local_comfyui.interrupt import Interrupt, Interrupted
from local_comfyui.job_folders import FIELD, Written, job_folders_of
from local_comfyui.json_types import Json, JsonObject, as_object
from local_comfyui.nodes.registry import Call, Implementation, Preview, Result, Surroundings, Ui, Value, is_list
from local_comfyui.nodes.shown import as_shown
from local_comfyui.progress import Channel, Progress
from local_comfyui.results import Finished, Results, Signatures
from local_comfyui.schedule import Schedule

SENT_COMPRESSION = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a prompt ended: for the history."""

    success: bool
    outputs: JsonObject
    meta: JsonObject
    messages: list[Json]
    more: JsonObject
    """Further fields of the history entry."""


@dataclass
class Current:
    """The running prompt's client and node, for a client that connects during the run."""

    client: str | None = None
    node: str | None = None


@dataclass(frozen=True)
class Machinery:
    """Dependencies of the executor, with clock, random numbers and sleep."""

    implementations: Mapping[str, Implementation]
    is_output: Callable[[str], bool]
    folders: Folders
    channel: Channel
    interrupt: Interrupt
    results: Results
    embed_metadata: bool
    milliseconds: Callable[[], int] = field(default=lambda: time.time_ns() // 1_000_000)
    now: Callable[[], datetime] = datetime.now
    sleep: Callable[[float], None] = time.sleep
    dice: random.Random = field(default_factory=random.Random)
    current: Current = field(default_factory=Current)


def execute(
    machinery: Machinery, prompt_id: str, graph: Graph, prompt: JsonObject, extra_data: JsonObject, outputs: list[str]
) -> Outcome:
    """Run the valid `outputs` of a graph to their end."""
    return _Run(machinery, prompt_id, graph, prompt, extra_data).run(outputs)


@dataclass(frozen=True)
class _Running:
    """The engine as a node sees it."""

    machinery: Machinery
    progress: Progress
    node: str
    keep_picture: Callable[[str, Image.Image], None]

    def send_picture(self, picture: Image.Image) -> None:
        self.check_interrupt()
        self.keep_picture(self.node, picture)
        self.progress.update(self.node, 1.0, 1.0, Preview("PNG", picture, None))

    def report(self, value: float, maximum: float, preview: Preview | None) -> None:
        self.check_interrupt()
        self.progress.update(self.node, value, maximum, preview)

    def show_text(self, text: str) -> None:
        self.progress.show_text(self.node, text)

    def check_interrupt(self) -> None:
        self.machinery.interrupt.check()

    def sleep(self, seconds: float) -> None:
        self.machinery.sleep(seconds)


class _Run:
    def __init__(
        self, machinery: Machinery, prompt_id: str, graph: Graph, prompt: JsonObject, extra_data: JsonObject
    ) -> None:
        self._machinery, self._prompt_id, self._graph = machinery, prompt_id, graph
        client = extra_data.get("client_id")
        self._client = client if isinstance(client, str) else None
        self._progress = Progress(prompt_id, self._client, machinery.channel)
        job = job_folders_of(extra_data)
        folders = machinery.folders if job is None else job.folders
        self._written = None if job is None else Written(folders)
        self._signatures = Signatures(
            graph,
            machinery.implementations,
            folders,
            lambda node: "" if job is None else self._kept_for(node, job.scope),
        )
        self._output_folder = folders.output
        self._pictures: dict[str, int] = {}
        pnginfo = extra_data.get("extra_pnginfo")
        self._around = Surroundings(
            folders=folders,
            prompt=prompt if machinery.embed_metadata else None,
            extra_pnginfo=as_object(pnginfo) if machinery.embed_metadata else None,
            now=machinery.now,
            dice=machinery.dice,
        )
        self._finished: dict[str, Finished] = {}
        self._executed: list[str] = []
        self._messages: list[Json] = []

    def run(self, outputs: list[str]) -> Outcome:
        machinery = self._machinery
        machinery.current.client, machinery.current.node = self._client, None
        self._announce("execution_start", {})
        machinery.results.start({self._signatures.of(node_id) for node_id in self._graph})
        self._announce(
            "execution_cached", {"nodes": [node_id for node_id in self._graph if self._kept(node_id) is not None]}
        )
        schedule = Schedule(
            self._graph,
            lambda node_id: self._kept(node_id) is not None,
            lambda node_id: machinery.is_output(self._graph[node_id].class_type),
        )
        for output in outputs:
            schedule.add(output)
        success = True
        while success and (node_id := schedule.take()) is not None:
            success = self._visit(self._graph[node_id])
            schedule.done(node_id)
        if success:
            self._announce("execution_success", {})
        machinery.current.node = None
        more: JsonObject = {}
        if self._written is not None:
            report: JsonObject = {"files": self._written.report(), "nodes": {}}
            more = {FIELD: report}
            if self._client is not None:
                self._send(FIELD, report)
        reported = {
            node_id: found
            for node_id in self._graph
            if (found := self._result(node_id)) is not None and found.ui is not None
        }
        return Outcome(
            success,
            {node_id: as_json_ui(found.ui or {}) for node_id, found in reported.items()},
            {node_id: {**found.meta, **_meta(node_id)} for node_id, found in reported.items()},
            self._messages,
            more,
        )

    def _kept_for(self, node: Node, scope: str) -> str:
        """Files of an output node go with their prompt, so it runs in every one. What texts went into stays in its
        scope."""
        if self._machinery.is_output(node.class_type):
            return self._prompt_id
        return scope if any(isinstance(value, str) for value in node.inputs.values()) else ""

    def _kept(self, node_id: str) -> Finished | None:
        return self._machinery.results.get(self._signatures.of(node_id))

    def _result(self, node_id: str) -> Finished | None:
        return self._finished.get(node_id) or self._kept(node_id)

    def _visit(self, node: Node) -> bool:
        known = self._kept(node.id)
        if known is not None:
            self._finished[node.id] = known
            if self._client is not None:
                self._send_executed(node.id, None if known.ui is None else as_json_ui(known.ui))
            self._progress.finish(node.id)
            return True
        inputs: dict[str, list[Value]] | None = None
        try:
            inputs = self._inputs(node)
            self._progress.start(node.id)
            self._machinery.current.node = node.id
            if self._client is not None:
                self._send("executing", {"node": node.id, "display_node": node.id})
            finished = self._execute(node, inputs)
            if self._written is not None:
                self._written.look(node.id)
        except Interrupted:
            self._announce_interrupt(node)
            return False
        except Exception as problem:  # A node can raise anything; the prompt ends with that error.
            self._announce_error(node, problem, inputs)
            return False
        self._finished[node.id] = finished
        self._machinery.results.put(self._signatures.of(node.id), finished)
        if finished.ui is not None and self._client is not None:
            self._send_executed(node.id, as_json_ui(finished.ui))
        self._progress.finish(node.id)
        self._executed.append(node.id)
        return True

    def _inputs(self, node: Node) -> dict[str, list[Value]]:
        gathered: dict[str, list[Value]] = {}
        for name, value in node.inputs.items():
            link = as_link(value)
            gathered[name] = [value] if link is None else self._output(link)
        return gathered

    def _output(self, link: Link) -> list[Value]:
        source = self._result(link.node)
        if source is None:
            raise LookupError(f"node {link.node} has no result")
        return source.outputs[link.slot]

    def _execute(self, node: Node, inputs: dict[str, list[Value]]) -> Finished:
        implementation = self._machinery.implementations[node.class_type]
        running = _Running(self._machinery, self._progress, node.id, self._keep_picture)
        if implementation.takes_lists:
            running.check_interrupt()
            results = [implementation.run(Call(inputs, self._around, running))]
        else:
            results: list[Result] = []
            for index in range(max((len(values) for values in inputs.values()), default=1)):
                running.check_interrupt()
                one = {name: values[min(index, len(values) - 1)] for name, values in inputs.items() if values}
                results.append(implementation.run(Call(one, self._around, running)))
        return Finished(_merged(results, implementation.takes_lists), _merged_ui(results), _meta(node.id))

    def _keep_picture(self, node: str, picture: Image.Image) -> None:
        """An image that a node sends as its output becomes a file of a prompt with its own folders."""
        if self._written is not None:
            count = self._pictures[node] = self._pictures.get(node, 0) + 1
            name = f"{node}.png" if count == 1 else f"{node}_{count}.png"
            picture.save(self._output_folder / name, compress_level=SENT_COMPRESSION)

    def _announce(self, event: str, data: JsonObject, *, to_all: bool = False) -> None:
        """Send a message that the history keeps. Without a client it is only stored, unless it is for all clients."""
        message: JsonObject = {**data, "prompt_id": self._prompt_id, "timestamp": self._machinery.milliseconds()}
        self._messages.append([event, message])
        if self._client is not None or to_all:
            self._machinery.channel.send(event, message, self._client)

    def _announce_interrupt(self, node: Node) -> None:
        log.info("Processing interrupted")
        data: JsonObject = {"node_id": node.id, "node_type": node.class_type, "executed": [*self._executed]}
        self._announce("execution_interrupted", data, to_all=True)

    def _announce_error(self, node: Node, problem: Exception, inputs: Mapping[str, list[Value]] | None) -> None:
        log.error("!!! Exception during processing !!! %s", problem, exc_info=problem)
        kind = type(problem)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        shown: JsonObject = {key: [as_shown(value) for value in values] for key, values in (inputs or {}).items()}
        data: JsonObject = {
            "node_id": node.id,
            "node_type": node.class_type,
            "executed": [*self._executed],
            "exception_message": f"{problem}\n",
            "exception_type": name,
            "traceback": [*traceback.format_tb(problem.__traceback__)],
            "current_inputs": shown,
            "current_outputs": [*self._graph],
        }
        self._announce("execution_error", data)

    def _send(self, event: str, data: JsonObject) -> None:
        self._machinery.channel.send(event, {**data, "prompt_id": self._prompt_id}, self._client)

    def _send_executed(self, node_id: str, output: Json) -> None:
        self._send("executed", {"node": node_id, "display_node": node_id, "output": output})


def as_json_ui(ui: Ui) -> JsonObject:
    """A node's report as JSON."""
    return {key: [*values] for key, values in ui.items()}


def _meta(node_id: str) -> JsonObject:
    return {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}


def _merged(results: list[Result], lists: bool) -> list[list[Value]]:
    """Per output the values of all runs; a list output's lists are joined."""
    count = len(results[0].outputs)
    if not lists:
        return [[result.outputs[slot] for result in results] for slot in range(count)]
    merged: list[list[Value]] = []
    for slot in range(count):
        joined: list[Value] = []
        for result in results:
            value = result.outputs[slot]
            joined += value if is_list(value) else [value]
        merged.append(joined)
    return merged


def _merged_ui(results: list[Result]) -> Ui | None:
    reports = [result.ui for result in results if result.ui]
    if not reports:
        return None
    return {key: [item for report in reports for item in report[key]] for key in reports[0]}
