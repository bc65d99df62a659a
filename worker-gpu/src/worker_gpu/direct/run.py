"""One direct job: inputs, execution, response. However it ends, ComfyUI is idle and no file of the job is left."""

import asyncio
import traceback
from collections.abc import Callable

from worker_gpu.direct.bucket import BucketStore
from worker_gpu.direct.progress_sink import ProgressSink
from worker_gpu.direct.request import BadRequest, Request
from worker_gpu.direct.response import DiscardedFiles, InlineFiles, ResponseBudget, build_response, response_limit
from worker_gpu.errors import JobError
from worker_gpu.job.context import JobContext, JobSpec
from worker_gpu.job.execution import Execution
from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.lifecycle.job_cleanup import cleanup_job, is_comfy_lost, release_after
from worker_gpu.lifecycle.preflight import preflight
from worker_gpu.lifecycle.worker_context import WorkerContext
from worker_gpu.lifecycle.worker_health import requires_replacement
from worker_gpu.outputs.collect import OutputOptions
from worker_gpu.outputs.upload import Uploader, UploadSink
from worker_gpu.wire.contract import Limits, Output, Timings

MAX_INLINE_TEXT_BYTES = 1024 * 1024
"""A text up to this size is in the response as text; a longer one is a file."""
MAX_TEXT_BESIDE_BUCKET_BYTES = 16 * 1024
"""The limit with a bucket, as behind the gateway (contract, "claim"): hundreds of such texts fit into a response."""
SCOPE = "direct"
"""All direct jobs belong to the owner of RunPod's key, so they share ComfyUI's cache."""
ADVICE_BUCKET = "Set BUCKET_ENDPOINT_URL and its other variables to store them in a bucket."
ADVICE_FEWER_OUTPUTS = "Links and short texts alone exceed the limit. Run the workflow in parts."

SendProgress = Callable[[JsonObject], None]


async def run_direct(
    context: WorkerContext, job: str, given: Json, send: SendProgress, *, wants_outputs: bool = True
) -> JsonObject:
    """Run the workflow in `given` (RunPod's `input`) as RunPod's job `job`; `send` gets progress. Returns the response,
    or `{"error": …}` for any failure: a partial result is a failure. Raises only `CancelledError`, once the workflow is
    stopped. The cleanup, which deletes the files of the job and may restart ComfyUI, goes on after that, and the next
    job waits for it. Unless it `wants_outputs`, outputs of any size are discarded."""
    try:
        request = Request.parse(given)
    except BadRequest as error:
        context.log.info("direct job rejected", job=job, code=error.code)
        return error_response(error.code, error.message)
    await context.job_lock.acquire()
    run = _DirectRun(context, job, request, send, wants_outputs)
    try:
        return await run.run()
    finally:
        release_after(run.cleanup, context)


def error_response(code: str, message: str, more: JsonObject | None = None) -> JsonObject:
    """A response that the SDK reports as FAILED. `error` is a text, as RunPod's clients expect; the rest is
    `output`."""
    return {"error": f"{code}: {message}", "code": code, "message": message, **(more or {})}


class _DirectRun:
    def __init__(
        self, context: WorkerContext, job: str, request: Request, send: SendProgress, wants_outputs: bool
    ) -> None:
        self._worker = context
        self._job_id = job
        self._request = request
        self._began = context.deps.now()
        settings = context.settings.direct
        self._timeout_s = request.timeout_s or settings.timeout_s
        self._wants_outputs = wants_outputs
        self._budget = self._make_budget() if wants_outputs else None
        self._progress = ProgressSink(send, self._budget)
        # RunPod may run the same job id again on this worker, so each run has its own id.
        prompt_id = context.deps.new_id()
        spec = JobSpec(
            prompt_id=prompt_id,
            workflow=request.workflow,
            scope=SCOPE,
            shared_folder=prompt_id,
            options=OutputOptions(request.temp_outputs, self._limits(), request.metadata),
            silence_s=settings.silence_s,
            extra=self._extra(),
        )
        log, deadline = context.log.bind(job=job), self._began + self._timeout_s
        # A status shows no images, and RunPod stores every chunk of a stream: no previews.
        self._job = JobContext.open(context, spec, self._progress, None, deadline, Timings(), log)
        self._inline: InlineFiles | None = None
        self._execution = Execution(self._job, self._make_sink())
        self.cleanup: asyncio.Task[None] | None = None
        """Starts with the response; the next job waits for it."""
        self._stopped = asyncio.Event()

    async def run(self) -> JsonObject:
        job, request = self._job, self._request
        job.log.info("direct job", nodes=len(request.workflow), inputs=len(request.input_files))
        error: JobError | None = None
        response: JsonObject = {}
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._run_steps()
        except JobError as failure:
            error = failure
        except TimeoutError:
            error = JobError("timeout", "The job did not finish within its time limit.")
        except Exception as bug:
            self._log_bug(bug)
            error = JobError("internal", "The worker failed.")
        except asyncio.CancelledError:
            # RunPod's job-stop waits until ComfyUI is idle, unless it is sent again.
            self.cleanup = asyncio.create_task(self._clean_up(None))
            await self._stopped.wait()
            raise
        self.cleanup = asyncio.create_task(self._clean_up(error))
        job.timings.total_ms = job.ms_since(self._began)
        outcome = "succeeded" if error is None else "failed"
        job.log.info("job over", outcome=outcome, code=error.code if error is not None else None)
        # ComfyUI's own log and history use this id.
        more: JsonObject = {"prompt_id": job.spec.prompt_id, "timings": job.timings.to_wire()}
        if error is None:
            return {**response, **more}
        wire = error.with_classes(job.classes).to_wire()
        replaced: JsonObject = {"refresh_worker": True} if requires_replacement(error) else {}
        return error_response(error.code, error.message, {**wire, **more, **replaced})

    async def _run_steps(self) -> JsonObject:
        """The steps of the job in their order; returns its response. Raises `JobError`."""
        job = self._job
        job.check_nodes()
        info = await preflight(self._worker, job.log)
        await job.prepare_folders()
        input_names = await self._store_inputs()
        return self._build_response(await self._execution.run(info, input_names))

    def _build_response(self, outputs: list[Output]) -> JsonObject:
        if self._budget is None:
            return {}
        bucket = self._worker.settings.direct.bucket
        store = BucketStore(bucket, self._job_id, self._worker.deps.wall) if bucket is not None else None
        response = {
            **build_response(outputs, self._inline, store.link if store is not None else _no_link),
            **self._progress.warnings(),
        }
        self._budget.check(response)
        return response

    def _make_budget(self) -> ResponseBudget:
        settings = self._worker.settings.direct
        limit = response_limit(self._job_id, settings.max_answer_bytes)
        return ResponseBudget(
            limit, settings.bucket is None, ADVICE_BUCKET if settings.bucket is None else ADVICE_FEWER_OUTPUTS
        )

    def _limits(self) -> Limits:
        beside_bucket = self._worker.settings.direct.bucket is not None
        return Limits(0, 0, MAX_TEXT_BESIDE_BUCKET_BYTES if beside_bucket else MAX_INLINE_TEXT_BYTES, 0)

    def _make_sink(self) -> UploadSink:
        settings = self._worker.settings.direct
        if not self._wants_outputs:
            return DiscardedFiles()
        if settings.bucket is None:
            self._inline = InlineFiles()
            return self._inline
        store = BucketStore(settings.bucket, self._job_id, self._worker.deps.wall)
        return Uploader(self._job.transfers(), store, self._job.deadline)

    def _extra(self) -> JsonObject:
        key = self._request.comfy_org_api_key or self._worker.settings.direct.comfy_org_api_key
        return {"api_key_comfy_org": key} if key is not None else {}

    async def _store_inputs(self) -> dict[str, str]:
        job = self._job
        began, names = job.now(), dict[str, str]()
        if self._request.input_files:
            job.events.stage("inputs")
        for file in self._request.input_files:
            names[file.name] = await job.inputs.keep_content(file.content, file.name)
        job.timings.inputs_ms = job.ms_since(began)
        return names

    def _log_bug(self, bug: Exception) -> None:
        self._job.log.error("bug in the worker", trace="".join(traceback.format_exception(bug))[-4000:])

    async def _clean_up(self, error: JobError | None) -> None:
        """Stop the workflow and delete everything of the job from the worker."""
        try:
            if not is_comfy_lost(error):
                await self._execution.cancel_prompt()
        except Exception as bug:
            self._log_bug(bug)
        finally:
            self._stopped.set()
        await cleanup_job(self._worker, self._execution.artifacts(), error, self._job.log)


def _no_link(_key: str) -> str:
    raise AssertionError("outputs are inline or in a bucket")
