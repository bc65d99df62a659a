"""What one job is, wherever it came from: what to run, for whom, until when, and who follows it.

A gateway job (`job_runner`) and a direct job (`direct.run`) each make one `JobContext` and give it to `Execution`.
Nothing in it outlives the job; what does is in `WorkerContext`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from worker_gpu.comfy.progress import Progress
from worker_gpu.job.folders import JobFolders
from worker_gpu.job.graph import class_types
from worker_gpu.job.inputs import InputStore, input_store_for
from worker_gpu.job.spool import Spool
from worker_gpu.json_readers import JsonObject
from worker_gpu.lifecycle.worker_context import WorkerContext
from worker_gpu.log import Log
from worker_gpu.outputs.collect import OutputOptions
from worker_gpu.wire.contract import Output, Stage, Timings
from worker_gpu.wire.transfers import Transfers


class EventSink(Protocol):
    """Takes the events of a job: the gateway's channel, or the status or stream of a direct job."""

    def stage(self, stage: Stage, message: str | None = None) -> None:
        """The job has entered `stage`; `message` is for a person."""
        ...

    def progress(self, progress: Progress) -> None:
        """The progress of the graph changed."""
        ...

    def output(self, output: Output) -> None:
        """An output is stored."""
        ...

    def warning(self, code: str, message: str) -> None:
        """A warning for the owner of the job, which does not end it."""
        ...


class PreviewSink(Protocol):
    """Takes the preview images of a job."""

    def preview(self, node: str, content_type: str, image: bytes) -> None:
        """A preview image of the node that runs."""
        ...


@dataclass(frozen=True)
class JobSpec:
    """What to run. Jobs of one `scope` may share what ComfyUI computed. `shared_folder` is the job's folder below the
    output folder of a ComfyUI that the worker did not start. `silence_s` 0 means no limit. `extra` is
    added to the prompt's `extra_data`, such as a key for API nodes."""

    prompt_id: str
    workflow: Mapping[str, JsonObject] = field(repr=False)
    scope: str
    shared_folder: str
    options: OutputOptions
    silence_s: float
    extra: JsonObject = field(default_factory=lambda: JsonObject(), repr=False)


@dataclass(frozen=True)
class JobContext:
    """One job. `deadline` is on the worker's clock. `previews` is None if the job has no previews. `folders` are the
    job's own folders; None with a ComfyUI that the worker did not start."""

    worker: WorkerContext
    spec: JobSpec
    events: EventSink
    previews: PreviewSink | None
    deadline: float
    timings: Timings
    log: Log
    spool: Spool
    folders: JobFolders | None
    inputs: InputStore
    classes: Mapping[str, str]

    @staticmethod
    def open(
        worker: WorkerContext,
        spec: JobSpec,
        events: EventSink,
        previews: PreviewSink | None,
        deadline: float,
        timings: Timings,
        log: Log,
    ) -> "JobContext":
        """The context of a job that begins. Nothing is written to disk yet."""
        folders = worker.comfy.folders.for_scope(spec.scope) if worker.comfy.folders is not None else None
        return JobContext(
            worker=worker,
            spec=spec,
            events=events,
            previews=previews,
            deadline=deadline,
            timings=timings,
            log=log,
            spool=Spool(worker.settings.data_dir / "spool" / spec.shared_folder),
            folders=folders,
            inputs=input_store_for(folders, worker.client),
            classes=class_types(spec.workflow),
        )

    def now(self) -> float:
        """The time on the worker's clock."""
        return self.worker.deps.now()

    def ms_since(self, moment: float) -> int:
        """Milliseconds since `moment` on the worker's clock."""
        return round((self.now() - moment) * 1000)

    def transfers(self) -> Transfers:
        """Transfers of the job's files to and from a store."""
        worker = self.worker
        return Transfers(worker.http, worker.timeouts, worker.deps.now, worker.deps.random, self.log)

    def check_nodes(self) -> None:
        """Raises `JobError` `node_not_allowed` for a node class that this worker does not run."""
        self.worker.settings.nodes.check(self.classes)

    async def prepare_folders(self) -> None:
        """Make the job's own folders, empty."""
        if self.folders is not None:
            await asyncio.to_thread(self.folders.prepare)
