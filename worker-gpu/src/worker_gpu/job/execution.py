"""One graph through ComfyUI: models fetched, prompt posted and followed, outputs brought in.

Memory that ran out is freed and the graph tried once more in place. The gateway's jobs and direct ones run by this.
"""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import Prompt
from worker_gpu.comfy.progress import Progress
from worker_gpu.comfy.prompt_follower import Results
from worker_gpu.comfyui_extension.comfy_edge.sent_images import SENDERS
from worker_gpu.concurrency import first_failure
from worker_gpu.errors import JobError, NodeRef
from worker_gpu.job.folders import JobFolders
from worker_gpu.job.graph import class_types, rewrite
from worker_gpu.job.progress_forwarder import Relay
from worker_gpu.job.required_models import models_for
from worker_gpu.job.spool import Spool
from worker_gpu.json_readers import JsonObject
from worker_gpu.lifecycle.comfyui import EXTENSION
from worker_gpu.lifecycle.job_cleanup import is_comfy_lost
from worker_gpu.lifecycle.preflight import log_tail
from worker_gpu.lifecycle.worker_context import ComfyInfo, WorkerContext
from worker_gpu.log import Log
from worker_gpu.outputs.collect import Collector, OutputOptions
from worker_gpu.outputs.files import FileSource, JobFolderFiles, ViewFiles
from worker_gpu.outputs.names import Names
from worker_gpu.outputs.output_discovery import OutputFinder
from worker_gpu.outputs.texts import write_text
from worker_gpu.outputs.upload import UploadSink
from worker_gpu.wire.contract import Output, Stage, Timings


class EventSink(Protocol):
    """Who follows a job from outside."""

    def stage(self, stage: Stage, message: str | None = None) -> None:
        """What the job does now."""
        ...

    def progress(self, progress: Progress) -> None:
        """How far the graph is."""
        ...

    def output(self, output: Output) -> None:
        """A result that is stored."""
        ...

    def warning(self, code: str, message: str) -> None:
        """A warning for the owner of the job, which does not end it."""
        ...

    def preview(self, node: str, content_type: str, image: bytes) -> None:
        """A picture of a node at work."""
        ...


@dataclass(frozen=True)
class PromptRequest:
    """What is to be run. `folders` are the job's own in a ComfyUI of ours; in somebody else's, it has the folder
    `shared_folder` below the output folder. `silence_s` 0 means no watchdog."""

    prompt_id: str
    workflow: Mapping[str, JsonObject] = field(repr=False)
    folders: JobFolders | None
    shared_folder: str
    options: OutputOptions
    previews: bool
    silence_s: float
    extra: JsonObject = field(default_factory=lambda: JsonObject(), repr=False)


class Execution:
    """One order at work. `run` once; `take_off` when it was broken off."""

    def __init__(
        self,
        context: WorkerContext,
        order: PromptRequest,
        audience: EventSink,
        sink: UploadSink,
        spool: Spool,
        timings: Timings,
        log: Log,
    ) -> None:
        self._context = context
        self._order = order
        self._audience = audience
        self._sink = sink
        self._spool = spool
        self._timings = timings
        self._log = log
        self._now = context.tools.now
        self._classes = class_types(order.workflow)
        self._posted = self._now()
        self._started: float | None = None
        self._submitting: asyncio.Task[JobError | None] | None = None
        self._prompt_over = False
        self._shown = 0.0
        self._pictures = itertools.count(1)
        self._told_before: tuple[Output, ...] = ()
        # Custom nodes print prompts: what ComfyUI printed before this job is another's.
        self._printed_before = context.comfy.printed
        self.collector: Collector | None = None

    @property
    def submitted(self) -> bool:
        """Whether ComfyUI may know the prompt."""
        return self._submitting is not None

    @property
    def execution_ms(self) -> int | None:
        """Time on the GPU; None where the graph never began."""
        return self._timings.execution_ms if self._started is not None else None

    def stored(self) -> tuple[Output, ...]:
        """Outputs stored so far, those of a try that ran out of memory included; of one name the later."""
        now = self.collector.stored() if self.collector is not None else ()
        return tuple({output.name: output for output in (*self._told_before, *now)}.values())

    async def run(self, known: ComfyInfo, stored_inputs: Mapping[str, str]) -> list[Output]:
        """All outputs. Raises `JobError`, and what the sink raises."""
        async with models_for(self._context.models, self._order.workflow, self._models_shown, self._timings, self._now):
            try:
                return await self._once(known, stored_inputs)
            except JobError as error:
                self._attach_log_tail(error)
                if error.code != "out_of_memory" or not await self._freed(error):
                    raise
            self._told_before = self.stored()
            return await self._once(known, stored_inputs)

    async def cancel_prompt(self) -> bool | None:
        """Take the prompt off ComfyUI, where it may still be there; None where it is not."""
        task = self._submitting
        if task is None or self._prompt_over:
            return None
        if task.done() and not task.cancelled() and isinstance(refusal := task.exception(), JobError):
            # Refused it never was there; unanswered it may be.
            return await self._context.executor.stop(self._order.prompt_id) if is_comfy_lost(refusal) else None
        return await self._context.executor.stop(self._order.prompt_id, task)

    async def _once(self, known: ComfyInfo, stored_inputs: Mapping[str, str]) -> list[Output]:
        context, order = self._context, self._order
        workflow, extra = await self._prepared(known, stored_inputs)
        self._audience.stage("executing")
        self._prompt_over = False
        with context.executor.open() as inbox:
            prompt = Prompt(order.prompt_id, workflow, order.previews, extra)
            # Shielded: a prompt whose post is cut off may still be queued after it was probe for.
            self._submitting = asyncio.create_task(context.executor.submit(prompt))
            self._posted = self._now()
            refused_part = await asyncio.shield(self._submitting)
            if refused_part is not None:
                # The rest of the graph would run and its missing outputs never be told: `take_off` ends it.
                raise refused_part
            try:
                async with asyncio.TaskGroup() as group:
                    collector = self._make_collector(group)
                    self.collector = collector
                    relay = Relay(
                        self._audience, collector, self._sends, order.previews, self._run_started, self._shown_most
                    )
                    try:
                        results = await context.executor.follow(
                            order.prompt_id, self._classes, inbox, relay, order.silence_s, order.folders is not None
                        )
                        self._prompt_over = True
                        self._check_pictures(results)
                    except JobError as error:
                        if error.comfy_lost and self._started is None and context.executor.at_once:
                            # A node that holds Python's interpreter lets no message out, not even of the start.
                            self._started = self._posted
                        raise
                    finally:
                        self._run_ended()
                    self._audience.stage("uploading")
                    ended = self._now()
                    outputs = await collector.finish(results)
                    self._timings.upload_ms = round((self._now() - ended) * 1000)
            except BaseExceptionGroup as failures:
                raise first_failure(failures) from None
        return outputs

    async def _freed(self, error: JobError) -> bool:
        """Give ComfyUI's memory back after the graph ran out of it, and forget the try; False when that cannot be."""
        context, order = self._context, self._order
        self._log.warn("out of memory: freed, and once more", cause=error.message)
        try:
            await context.client.free_memory(unload_models=True)
            await context.client.delete_history(order.prompt_id)
        except ComfyUnreachable:
            return False
        # ComfyUI frees when its queue's thread wakes, which nothing announces; a prompt posted before that runs first.
        await asyncio.sleep(context.timeouts.free_s)
        if order.folders is not None:
            await asyncio.to_thread(order.folders.prepare_again)
        return True

    def _attach_log_tail(self, error: JobError) -> None:
        """What ComfyUI printed before it died or hung says more than any message of ours."""
        tail = self._context.comfy.tail(self._printed_before)
        if error.comfy_lost and tail and not error.details:
            error.details = log_tail(tail)

    async def _prepared(self, known: ComfyInfo, stored_inputs: Mapping[str, str]) -> tuple[JsonObject, JsonObject]:
        """The graph and `extra_data` as they are posted."""
        order, catalog = self._order, known.catalog
        if order.folders is None:
            workflow = rewrite(
                order.workflow, order.shared_folder, stored_inputs, catalog.classes, catalog.output_classes
            )
            return workflow, order.extra
        await asyncio.to_thread(order.folders.bring_baked, order.workflow)
        return {**order.workflow}, {**order.extra, EXTENSION: order.folders.request()}

    def _make_collector(self, group: asyncio.TaskGroup) -> Collector:
        context, order = self._context, self._order
        source: FileSource
        if order.folders is not None:
            source, names = JobFolderFiles(order.folders, order.options.metadata), Names()
        else:
            in_memory = self._sink.reads_once
            source = ViewFiles(context.client, self._spool, order.shared_folder, order.options.metadata, in_memory)
            names = Names(f"{order.shared_folder}/")
        return Collector(
            group,
            source,
            self._sink,
            OutputFinder(source, names, self._classes, order.options.temp_outputs),
            order.options,
            lambda text: write_text(text, self._spool),
            None if order.folders is not None else self._place_for_picture,
            self._audience.output,
            self._audience.warning,
        )

    def _place_for_picture(self) -> Path:
        return self._spool.file(f"picture-{next(self._pictures)}")

    def _sends(self, node: str) -> bool:
        """Whether the pictures that a node sends over the socket are its result."""
        return self._classes.get(node) in SENDERS

    def _check_pictures(self, results: Results) -> None:
        """Where ComfyUI's folders are shared, pictures that are sent come over the socket alone. Raises `JobError`."""
        sender = next((node for node in self._classes if self._sends(node)), None)
        if sender is not None and self._order.folders is None and not results.saw_all_messages:
            text = "The connection to ComfyUI broke while the graph ran, so pictures that a node sent may be missing."
            raise JobError("output_missing", text, node=NodeRef(sender, self._classes[sender]))

    def _shown_most(self, value: float) -> float:
        """Progress never falls, not even when the graph is run again."""
        self._shown = max(self._shown, value)
        return self._shown

    def _models_shown(self, message: str) -> None:
        self._audience.stage("models", message)

    def _run_started(self) -> None:
        self._started = self._now()
        self._timings.queue_ms = round((self._started - self._posted) * 1000)

    def _run_ended(self) -> None:
        """However it ended: the time on the GPU counts."""
        if self._started is not None:
            self._timings.execution_ms = round((self._now() - self._started) * 1000)
