"""Runs the graph of one job: fetch models, post the prompt, follow it, collect its outputs.

Gateway jobs and direct jobs both run by this. `run` is one straight line and runs once. A graph that ran out of memory
is run a second time after ComfyUI freed its memory.

Concurrency: `run` is one task. Collecting runs beside following, in a task group that fails as a whole. The call to
`POST /prompt` is a task of its own and shielded: canceling `run` does not cancel it, because ComfyUI may queue a prompt
whose call was cut off. `cancel_prompt` therefore waits for that call before it removes the prompt.
"""

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import Prompt
from worker_gpu.comfy.progress import Progress
from worker_gpu.comfy.prompt_follower import FollowedEvent, Results
from worker_gpu.comfy.prompt_state import NodeOutput, Previewed, Progressed, RunStarted
from worker_gpu.comfy.socket import Inbox
from worker_gpu.comfyui_extension.comfy_edge.sent_images import SENDERS
from worker_gpu.concurrency import first_failure
from worker_gpu.errors import JobError, NodeRef
from worker_gpu.job.context import JobContext
from worker_gpu.job.graph import rewrite
from worker_gpu.job.required_models import models_for
from worker_gpu.json_readers import JsonObject
from worker_gpu.lifecycle.comfyui import EXTENSION
from worker_gpu.lifecycle.job_cleanup import JobArtifacts, is_comfy_lost
from worker_gpu.lifecycle.preflight import log_tail
from worker_gpu.lifecycle.worker_context import ComfyInfo
from worker_gpu.outputs.collect import Collector
from worker_gpu.outputs.files import FileSource, JobFolderFiles, ViewFiles
from worker_gpu.outputs.names import Names
from worker_gpu.outputs.output_discovery import OutputFinder
from worker_gpu.outputs.texts import write_text
from worker_gpu.outputs.upload import UploadSink
from worker_gpu.wire.contract import Output


class Execution:
    """The run of one job's graph. Its outputs go to `sink`."""

    def __init__(self, job: JobContext, sink: UploadSink) -> None:
        self._job = job
        self._sink = sink
        self._posted_at = job.now()
        self._started_at: float | None = None
        self._posting: asyncio.Task[JobError | None] | None = None
        self._is_prompt_finished = False
        self._max_progress = 0.0
        self._images = itertools.count(1)
        self._outputs_of_first_try: tuple[Output, ...] = ()
        self._collector: Collector | None = None
        self._printed_before = 0

    @property
    def execution_ms(self) -> int | None:
        """Time on the GPU; None if the graph never started."""
        return self._job.timings.execution_ms if self._started_at is not None else None

    def stored(self) -> tuple[Output, ...]:
        """The outputs stored so far, also those of a first try that ran out of memory. The later one wins by name."""
        now = self._collector.stored() if self._collector is not None else ()
        return tuple({output.name: output for output in (*self._outputs_of_first_try, *now)}.values())

    def artifacts(self) -> JobArtifacts:
        """What the job left on the worker."""
        job = self._job
        return JobArtifacts(job.spec.prompt_id if self._posting is not None else None, job.spool, job.folders)

    async def run(self, info: ComfyInfo, input_names: Mapping[str, str]) -> list[Output]:
        """All outputs, stored. Raises `JobError`, and what the sink raises."""
        job = self._job
        # Custom nodes print prompts, so lines from before this job may belong to another one.
        self._printed_before = job.worker.comfy.printed
        async with models_for(
            job.worker.models, job.spec.workflow, lambda line: job.events.stage("models", line), job.timings, job.now
        ):
            try:
                return await self._run_once(info, input_names)
            except JobError as error:
                self._attach_log_tail(error)
                if error.code != "out_of_memory" or not await self._free_memory(error):
                    raise
            self._outputs_of_first_try = self.stored()
            return await self._run_once(info, input_names)

    async def cancel_prompt(self) -> bool | None:
        """Remove the prompt from ComfyUI if it may still be there. Returns whether it is gone; None if it was not there
        any more."""
        posting, prompt_id = self._posting, self._job.spec.prompt_id
        if posting is None or self._is_prompt_finished:
            return None
        executor = self._job.worker.executor
        if posting.done() and not posting.cancelled() and isinstance(refusal := posting.exception(), JobError):
            # A prompt that ComfyUI refused was never queued; one without a response may be.
            return await executor.stop(prompt_id) if is_comfy_lost(refusal) else None
        return await executor.stop(prompt_id, posting)

    async def upload_again(self, names: tuple[str, ...]) -> bool:
        """Upload these outputs again because the store lost them; False if one of them is unknown."""
        return await self._collector.upload_again(names) if self._collector is not None else False

    async def _run_once(self, info: ComfyInfo, input_names: Mapping[str, str]) -> list[Output]:
        job, executor = self._job, self._job.worker.executor
        workflow, extra = await self._prompt_of(info, input_names)
        job.events.stage("executing")
        self._is_prompt_finished = False
        with executor.open() as inbox:
            prompt = Prompt(job.spec.prompt_id, workflow, job.previews is not None, extra)
            self._posting = asyncio.create_task(executor.submit(prompt))
            self._posted_at = job.now()
            partial_refusal = await asyncio.shield(self._posting)
            if partial_refusal is not None:
                # ComfyUI would run the rest and never report the missing outputs. `cancel_prompt` ends the run.
                raise partial_refusal
            try:
                async with asyncio.TaskGroup() as group:
                    self._collector = collector = self._new_collector(group)
                    results = await self._follow(inbox, collector)
                    job.events.stage("uploading")
                    ended = job.now()
                    outputs = await collector.finish(results)
                    job.timings.upload_ms = job.ms_since(ended)
                    return outputs
            except BaseExceptionGroup as failures:
                raise first_failure(failures) from None

    async def _follow(self, inbox: Inbox, collector: Collector) -> Results:
        """Pass on the events of the prompt until it has ended. Raises `JobError`."""
        job, executor = self._job, self._job.worker.executor
        follower = executor.follow(
            job.spec.prompt_id, job.classes, job.spec.silence_s, reports_files=job.folders is not None
        )
        try:
            async with aclosing(follower.events(inbox)) as events:
                async for event in events:
                    self._on_event(event, collector)
            self._is_prompt_finished = True
            self._require_sent_images(follower.results)
            return follower.results
        except JobError as error:
            if error.comfy_lost and self._started_at is None and executor.at_once:
                # A node that holds the GIL stops all messages, including the message that the graph has started.
                self._started_at = self._posted_at
            raise
        finally:
            # GPU time counts however the run ended.
            if self._started_at is not None:
                job.timings.execution_ms = job.ms_since(self._started_at)

    def _on_event(self, event: FollowedEvent, collector: Collector) -> None:
        job = self._job
        match event:
            case RunStarted():
                self._started_at = job.now()
                job.timings.queue_ms = round((self._started_at - self._posted_at) * 1000)
            case Progressed(progress=progress):
                job.events.progress(self._never_less(progress))
            case NodeOutput(node=node, output=output):
                collector.on_node_output(node, output)
            case Previewed(node=node, content_type=content_type, image=image):
                if self._sends_results(node):
                    collector.on_node_image(node, content_type, image)
                elif job.previews is not None:
                    job.previews.preview(node, content_type, image)

    def _never_less(self, progress: Progress) -> Progress:
        """Progress never falls, not even when the graph runs again."""
        self._max_progress = max(self._max_progress, progress.value)
        return replace(progress, value=self._max_progress)

    async def _free_memory(self, error: JobError) -> bool:
        """Have ComfyUI free its memory and forget the first try. Returns False if it does not answer."""
        job, worker = self._job, self._job.worker
        job.log.warn("out of memory: freed, and run again", cause=error.message)
        try:
            await worker.client.free_memory(unload_models=True)
            await worker.client.delete_history(job.spec.prompt_id)
        except ComfyUnreachable:
            return False
        # ComfyUI frees memory when its queue's thread wakes, and says nothing. A prompt posted earlier runs first.
        await asyncio.sleep(worker.timeouts.free_s)
        if job.folders is not None:
            await asyncio.to_thread(job.folders.prepare_again)
        return True

    def _attach_log_tail(self, error: JobError) -> None:
        """Add what ComfyUI printed before it died or hung."""
        tail = self._job.worker.comfy.tail(self._printed_before)
        if error.comfy_lost and tail and not error.details:
            error.details = log_tail(tail)

    async def _prompt_of(self, info: ComfyInfo, input_names: Mapping[str, str]) -> tuple[JsonObject, JsonObject]:
        """The graph and `extra_data` as they are posted."""
        spec, folders = self._job.spec, self._job.folders
        if folders is None:
            catalog = info.catalog
            workflow = rewrite(spec.workflow, spec.shared_folder, input_names, catalog.classes, catalog.output_classes)
            return workflow, spec.extra
        await asyncio.to_thread(folders.bring_baked, spec.workflow)
        return {**spec.workflow}, {**spec.extra, EXTENSION: folders.request()}

    def _new_collector(self, group: asyncio.TaskGroup) -> Collector:
        job, options = self._job, self._job.spec.options
        source: FileSource
        if job.folders is not None:
            source, names = JobFolderFiles(job.folders, options.metadata), Names()
        else:
            source = ViewFiles(
                job.worker.client, job.spool, job.spec.shared_folder, options.metadata, self._sink.reads_once
            )
            names = Names(f"{job.spec.shared_folder}/")
        return Collector(
            group,
            source,
            self._sink,
            OutputFinder(source, names, job.classes, options.temp_outputs),
            options,
            lambda text: write_text(text, job.spool),
            None if job.folders is not None else self._new_image_path,
            job.events.output,
            job.events.warning,
        )

    def _new_image_path(self) -> Path:
        return self._job.spool.file(f"picture-{next(self._images)}")

    def _sends_results(self, node: str) -> bool:
        """Whether the images that a node sends over the socket are its result."""
        return self._job.classes.get(node) in SENDERS

    def _require_sent_images(self, results: Results) -> None:
        """Without folders of the job's own, sent images come over the socket only. Raises `JobError` if the socket may
        have missed one."""
        classes = self._job.classes
        sender = next((node for node in classes if self._sends_results(node)), None)
        if sender is not None and self._job.folders is None and not results.saw_all_messages:
            text = "The connection to ComfyUI broke while the graph ran, so images that a node sent may be missing."
            raise JobError("output_missing", text, node=NodeRef(sender, classes[sender]))
