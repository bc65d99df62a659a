"""One direct job: inputs, execute, answer. However it ends, ComfyUI is idle and nothing of it stays behind."""

import asyncio
import traceback
from collections.abc import Callable

from worker_gpu.aftermath import Leftovers, is_comfy_lost, leave, release_after
from worker_gpu.contract import Limits, Output, Timings
from worker_gpu.direct.bucket import BucketStore
from worker_gpu.direct.progress_sink import Teller
from worker_gpu.direct.request import BadRequest, Request
from worker_gpu.direct.response import AnswerRoom, DroppedFiles, KeptFiles, answer_limit, compose
from worker_gpu.errors import JobError
from worker_gpu.execution import Execution, Order
from worker_gpu.fault import wears_out
from worker_gpu.graph import class_types
from worker_gpu.inputs import store_for
from worker_gpu.outputs.collect import Wishes
from worker_gpu.outputs.upload import Sink, Uploader
from worker_gpu.preflight import preflight
from worker_gpu.shape import Json, JsonObject
from worker_gpu.spool import Spool
from worker_gpu.transfers import Transfers
from worker_gpu.workplace import Workplace

MAX_INLINE_TEXT_BYTES = 1024 * 1024
"""Texts up to this size are in the answer as they are; longer ones are files."""
MAX_TEXT_BESIDE_BUCKET_BYTES = 16 * 1024
"""The same where there is a bucket: as behind the gateway (contract, "claim"), and hundreds of them fit the answer."""
SCOPE = "direct"
"""Direct jobs are all of the one who has RunPod's key: they share what ComfyUI computed."""
USE_A_BUCKET = "Set BUCKET_ENDPOINT_URL and the variables with it, and they go to a bucket."
FEWER_OUTPUTS = "Links and short texts alone are that much: run the graph in parts."

Tell = Callable[[JsonObject], None]


async def run_direct(place: Workplace, job: str, given: Json, tell: Tell, *, wants_outputs: bool = True) -> JsonObject:
    """Run the graph in `given` (RunPod's `input`) as RunPod's job `job`; `tell` gets progress. Gives the answer, or
    `{"error": …}` for anything that failed: a partial result is a failure. Raises nothing but cancellation, once the
    graph is stopped. What is left to do then, such as to delete the job's files or to restart ComfyUI, goes on, and
    the next job waits for it. Unless it `wants_outputs`, they are neither kept nor stored, and of any size."""
    try:
        request = Request.parse(given)
    except BadRequest as error:
        place.log.info("direct job refused", job=job, code=error.code)
        return refusal(error.code, error.message)
    await place.turn.acquire()
    run = _DirectRun(place, job, request, tell, wants_outputs)
    try:
        return await run.run()
    finally:
        release_after(run.leaving, place)


def refusal(code: str, message: str, more: JsonObject | None = None) -> JsonObject:
    """What the SDK turns into FAILED: `error` is a text, as RunPod's clients expect; the rest is the job's `output`."""
    return {"error": f"{code}: {message}", "code": code, "message": message, **(more or {})}


class _DirectRun:
    def __init__(self, place: Workplace, job: str, request: Request, tell: Tell, wants_outputs: bool) -> None:
        self._place = place
        self._job = job
        self._request = request
        self._log = place.log.bind(job=job)
        self._now = place.tools.now
        self._began = self._now()
        self._timings = Timings()
        # RunPod's id may be tried again on the same worker: each run has names of its own.
        self._prompt_id = place.tools.new_id()
        self._spool = Spool(place.settings.data_dir / "spool" / self._prompt_id)
        self._folders = place.comfy.folders.for_scope(SCOPE) if place.comfy.folders is not None else None
        self._store = store_for(self._folders, place.client)
        self._wants_outputs = wants_outputs
        self._room = self._make_room() if wants_outputs else None
        self._teller = Teller(tell, self._room)
        self._execution: Execution | None = None
        self._kept: KeptFiles | None = None
        self.leaving: asyncio.Task[None] | None = None
        """Begins with the answer; the next job waits for it."""
        self._stopped = asyncio.Event()

    async def run(self) -> JsonObject:
        request, settings = self._request, self._place.settings.direct
        self._log.info("direct job", nodes=len(request.workflow), inputs=len(request.pictures))
        error: JobError | None = None
        answer: JsonObject = {}
        try:
            async with asyncio.timeout(request.timeout_s or settings.timeout_s):
                answer = await self._work()
        except JobError as failure:
            error = failure
        except TimeoutError:
            error = JobError("timeout", "The job did not finish in its time.")
        except Exception as bug:
            self._log_bug(bug)
            error = JobError("internal", "The worker failed.")
        except asyncio.CancelledError:
            # RunPod's job-stop waits until ComfyUI is idle, unless it is repeated.
            self.leaving = asyncio.create_task(self._leave(None))
            await self._stopped.wait()
            raise
        self.leaving = asyncio.create_task(self._leave(error))
        self._timings.total_ms = round((self._now() - self._began) * 1000)
        outcome = "succeeded" if error is None else "failed"
        self._log.info("job over", outcome=outcome, code=error.code if error is not None else None)
        # By it ComfyUI's own log and history are searched.
        more: JsonObject = {"prompt_id": self._prompt_id, "timings": self._timings.to_wire()}
        if error is None:
            return {**answer, **more}
        told = error.with_classes(class_types(request.workflow)).to_wire()
        worn: JsonObject = {"refresh_worker": True} if wears_out(error) else {}
        return refusal(error.code, error.message, {**told, **more, **worn})

    async def _work(self) -> JsonObject:
        place, request = self._place, self._request
        place.settings.nodes.check(class_types(request.workflow))
        known = await preflight(place, self._log)
        if self._folders is not None:
            await asyncio.to_thread(self._folders.prepare)
        names = await self._keep_inputs()
        execution = Execution(
            place,
            Order(
                prompt_id=self._prompt_id,
                workflow=request.workflow,
                folders=self._folders,
                shared_folder=self._prompt_id,
                wishes=Wishes(request.temp_outputs, self._limits(), request.metadata),
                previews=False,
                silence_s=place.settings.direct.silence_s,
                extra=self._extra(),
            ),
            self._teller,
            self._make_sink(),
            self._spool,
            self._timings,
            self._log,
        )
        self._execution = execution
        return self._composed(await execution.run(known, names))

    def _composed(self, outputs: list[Output]) -> JsonObject:
        if self._room is None:
            return {}
        bucket = self._place.settings.direct.bucket
        store = BucketStore(bucket, self._job, self._place.tools.wall) if bucket is not None else None
        answer = {
            **compose(outputs, self._kept, store.link if store is not None else _no_link),
            **self._teller.warnings(),
        }
        self._room.check(answer)
        return answer

    def _make_room(self) -> AnswerRoom:
        settings = self._place.settings.direct
        limit = answer_limit(self._job, settings.max_answer_bytes)
        return AnswerRoom(limit, settings.bucket is None, USE_A_BUCKET if settings.bucket is None else FEWER_OUTPUTS)

    def _limits(self) -> Limits:
        beside_bucket = self._place.settings.direct.bucket is not None
        return Limits(0, 0, MAX_TEXT_BESIDE_BUCKET_BYTES if beside_bucket else MAX_INLINE_TEXT_BYTES, 0)

    def _make_sink(self) -> Sink:
        place, settings = self._place, self._place.settings.direct
        if not self._wants_outputs:
            return DroppedFiles()
        if settings.bucket is None:
            self._kept = KeptFiles()
            return self._kept
        store = BucketStore(settings.bucket, self._job, place.tools.wall)
        until = self._began + (self._request.timeout_s or settings.timeout_s)
        transfers = Transfers(place.http, place.patience, self._now, place.tools.random, self._log)
        return Uploader(transfers, store, until)

    def _extra(self) -> JsonObject:
        key = self._request.comfy_org_api_key or self._place.settings.direct.comfy_org_api_key
        return {"api_key_comfy_org": key} if key is not None else {}

    async def _keep_inputs(self) -> dict[str, str]:
        began, names = self._now(), dict[str, str]()
        if self._request.pictures:
            self._teller.stage("inputs")
        for picture in self._request.pictures:
            names[picture.name] = await self._store.keep_content(picture.content, picture.name)
        self._timings.inputs_ms = round((self._now() - began) * 1000)
        return names

    def _log_bug(self, bug: Exception) -> None:
        self._log.error("bug in the worker", trace="".join(traceback.format_exception(bug))[-4000:])

    async def _leave(self, error: JobError | None) -> None:
        """Leave the workplace as it was found."""
        place, execution = self._place, self._execution
        try:
            if execution is not None and not is_comfy_lost(error):
                await execution.take_off()
        except Exception as bug:
            self._log_bug(bug)
        finally:
            self._stopped.set()
        submitted = execution is not None and execution.submitted
        left = Leftovers(self._prompt_id if submitted else None, self._spool, self._folders)
        await leave(place, left, error, self._log)


def _no_link(_key: str) -> str:
    raise AssertionError("outputs are kept or linked")
