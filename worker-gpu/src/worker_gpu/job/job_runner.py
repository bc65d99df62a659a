"""One job of the gateway, from its ticket to RunPod's receipt.

`_GatewayJob` reads from top to bottom: claim, run the steps, report, clean up. Concurrency and invariants:

- One job at a time: `WorkerContext.job_lock` is held from before the claim until the cleanup has ended, which may be
  after RunPod has its receipt.
- `preflight` runs beside the claim. The channel runs beside the attempt and is closed after the report.
- The steps run in a task of their own. The first reason to stop wins (`StopSignal`): client, deadline, a newer attempt,
  or RunPod. Then, in this order: the steps are canceled, the prompt is removed from ComfyUI, the end is reported, files
  are deleted, and a ComfyUI that was killed is started again.
- RunPod's cancellation never interrupts the report: the attempt is shielded, and the report then has `stop_report_s`.
- Outputs that are stored are part of every report, also of a failed or canceled job.
"""

import asyncio
import traceback
from typing import Any

from worker_gpu.errors import JobError
from worker_gpu.job.cancellation import StopSignal, stop_report
from worker_gpu.job.completion_report import Reporter, ran_with
from worker_gpu.job.context import JobContext, JobSpec
from worker_gpu.job.execution import Execution
from worker_gpu.job.graph import job_folder
from worker_gpu.job.inputs import InputFetcher
from worker_gpu.json_readers import ShapeError
from worker_gpu.lifecycle import resources
from worker_gpu.lifecycle.job_cleanup import cleanup_job, is_comfy_lost, release_after
from worker_gpu.lifecycle.preflight import preflight
from worker_gpu.lifecycle.worker_context import ComfyInfo, WorkerContext
from worker_gpu.lifecycle.worker_health import requires_replacement
from worker_gpu.outputs.collect import OutputOptions
from worker_gpu.outputs.upload import Uploader
from worker_gpu.wire.catalog import CatalogSender
from worker_gpu.wire.channel import Channel
from worker_gpu.wire.client import AttemptOver, GatewayClient, GatewaySilent
from worker_gpu.wire.contract import Claim, Output, Receipt, Refused, Report, Ticket, Timings


async def run_job(context: WorkerContext, ticket: Ticket) -> Receipt:
    """Run the attempt that `ticket` names and return RunPod's receipt. Raises nothing but `CancelledError`, after the
    job was stopped and reported. The cleanup goes on after that, and the next job waits for it."""
    await context.job_lock.acquire()
    run = _GatewayJob(context, ticket)
    try:
        return await run.run()
    finally:
        release_after(run.busy, context)


class _GatewayJob:
    def __init__(self, context: WorkerContext, ticket: Ticket) -> None:
        self._context = context
        self._ticket = ticket
        self._log = context.log.bind(job=ticket.job, attempt=ticket.attempt)
        self._now = context.deps.now
        self._began = self._now()
        self._until = self._began
        self._timings = Timings()
        self._stop = StopSignal()
        self._gateway = GatewayClient(
            context.http, ticket, context.deps.new_id(), context.timeouts, self._now, context.deps.random, self._log
        )
        self._channel = Channel(
            context.http, self._gateway, self._stop.set, context.timeouts, self._now, context.deps.random, self._log
        )
        self._reporter = Reporter(
            self._gateway, self._channel, lambda: context.info, self._timings, context.timeouts, self._log
        )
        self._execution: Execution | None = None
        self.busy: asyncio.Task[Any] | None = None
        """The task that may still run after `run` has returned."""
        self._stopped_by_provider = False
        self._report_limit: asyncio.Timeout | None = None

    async def run(self) -> Receipt:
        checking, known = asyncio.create_task(preflight(self._context, self._log)), self._context.current
        # The attempt reports its failure. Without an attempt the exception must still be retrieved.
        checking.add_done_callback(lambda task: task.cancelled() or task.exception())
        self.busy = checking
        try:
            claim = await self._gateway.claim(self._context.info, known.catalog.digest if known is not None else None)
        except GatewaySilent as error:
            self._log.error("claim unanswered", cause=str(error))
            return self._refused("gateway_silent")
        except ShapeError as error:
            self._log.error("claim not understood", cause=str(error))
            report = await self._reporter.send_blindly(
                JobError("internal", "The worker did not understand its claim."),
                self._now() + self._context.timeouts.stop_report_s,
            )
            return self._receipt(report, "internal")
        if isinstance(claim, Refused):
            self._log.info("claim refused", status=claim.status, code=claim.code)
            return self._refused(claim.code)
        self._timings.claim_ms = self._ms_since(self._began)
        self._until = self._now() + claim.time_left_s
        self._log.info("claimed", prompt=claim.prompt_id, nodes=len(claim.workflow), inputs=len(claim.inputs))
        return await self._shielded_attempt(claim, checking)

    async def _shielded_attempt(self, claim: Claim, checking: "asyncio.Task[ComfyInfo]") -> Receipt:
        """Run the attempt in a task of its own: RunPod's cancellation stops the job, but not its report, and not the
        cleanup, which may take longer than RunPod waits here."""
        timeouts = self._context.timeouts
        attempt = asyncio.create_task(self._attempt(claim, checking))
        self.busy = attempt
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            self._stop.set("provider")
            self._stopped_by_provider = True
            if self._report_limit is not None:
                self._report_limit.reschedule(asyncio.get_running_loop().time() + timeouts.stop_report_s)
            await asyncio.wait({attempt}, timeout=timeouts.cancel_s + timeouts.stop_report_s)
            raise
        except Exception as error:
            self._bug(error)
            return self._receipt(Report("failed", error=_BUG), _BUG.code)

    async def _attempt(self, claim: Claim, checking: "asyncio.Task[ComfyInfo]") -> Receipt:
        job = self._open_job(claim)
        uploader = Uploader(job.transfers(), self._gateway, job.deadline)
        execution = self._execution = Execution(job, uploader)
        channel_task = asyncio.create_task(self._channel.run())
        try:
            report, code = await self._run_and_report(job, execution, claim, checking)
        except Exception as error:
            self._bug(error)
            report, code = await self._report_bug(), _BUG.code
        finally:
            channel_task.cancel()
            await asyncio.wait({channel_task})
            if not channel_task.cancelled() and (error := channel_task.exception()) is not None:
                self._bug(error)
        receipt = self._receipt(report, code)
        error = report.error if report is not None else None
        await cleanup_job(self._context, execution.artifacts(), error, self._log)
        self._log_end(receipt)
        return receipt

    def _open_job(self, claim: Claim) -> JobContext:
        options, limits = claim.options, claim.limits
        spec = JobSpec(
            prompt_id=claim.prompt_id,
            workflow=claim.workflow,
            scope=claim.scope,
            shared_folder=job_folder(claim.job, claim.attempt),
            options=OutputOptions(options.temp_outputs, limits, options.metadata),
            silence_s=float(limits.silence_s),
        )
        previews = self._channel if options.previews else None
        return JobContext.open(self._context, spec, self._channel, previews, self._until, self._timings, self._log)

    async def _run_and_report(
        self, job: JobContext, execution: Execution, claim: Claim, checking: "asyncio.Task[ComfyInfo]"
    ) -> tuple[Report | None, str | None]:
        """How the attempt ended, and the code for the receipt. The report is None if the gateway wants none."""
        catalog = CatalogSender(self._gateway, claim.catalog_wanted)
        running = asyncio.create_task(self._run_steps(job, execution, claim, catalog, checking))
        stopping = asyncio.create_task(self._stop.wait())
        time_left_s = max(0.0, job.deadline - job.now())
        await asyncio.wait({running, stopping}, timeout=time_left_s, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not running.done():
            self._stop.set("deadline")
        report = await self._conclude(job, execution, running)
        if report is None:
            return None, self._stop.reason
        await catalog.wait_sent(self._context.timeouts.catalog_s)
        limit_s = self._context.timeouts.stop_report_s if self._stopped_by_provider else None
        try:
            async with asyncio.timeout(limit_s) as self._report_limit:
                return await self._reporter.send(
                    report,
                    job.deadline,
                    execution.upload_again,
                    lambda: self._ms_since(self._began),
                    ran_with(self._context, claim.workflow),
                )
        except TimeoutError:
            self._log.error("stop not reported", seconds=self._context.timeouts.stop_report_s)
            return report, "gateway_silent"
        finally:
            self._report_limit = None

    async def _run_steps(
        self,
        job: JobContext,
        execution: Execution,
        claim: Claim,
        catalog: CatalogSender,
        checking: "asyncio.Task[ComfyInfo]",
    ) -> list[Output]:
        """The steps of the job in their order; returns its outputs, stored. Raises `JobError`, `AttemptOver`."""
        if (current := self._context.current) is not None:
            catalog.send_once(current.about.version, current.catalog)
        job.check_nodes()
        # Shielded: the next job needs a ComfyUI that is being started, too.
        info = await asyncio.shield(checking)
        catalog.send_once(info.about.version, info.catalog)
        await job.prepare_folders()
        input_names: dict[str, str] = {}
        if claim.inputs:
            began = job.now()
            job.events.stage("inputs")
            input_names = await InputFetcher(job.transfers(), job.inputs, job.spool).fetch(claim.inputs, job.deadline)
            job.timings.inputs_ms = job.ms_since(began)
        return await execution.run(info, input_names)

    async def _conclude(
        self, job: JobContext, execution: Execution, running: "asyncio.Task[list[Output]]"
    ) -> Report | None:
        """How the attempt ended, with nothing of it left running. None if the gateway wants no report."""
        stopped = not running.done()
        if stopped:
            running.cancel()
            await asyncio.wait({running})
        report = self._outcome(job, execution, running, stopped)
        if report is None or not is_comfy_lost(report.error):
            began = job.now()
            is_gone = await execution.cancel_prompt()
            if is_gone is not None:
                self._log.info("comfyui stopped the prompt", sure=is_gone, ms=job.ms_since(began))
        return report

    def _outcome(
        self, job: JobContext, execution: Execution, running: "asyncio.Task[list[Output]]", stopped: bool
    ) -> Report | None:
        error = running.exception() if not running.cancelled() else None
        if stopped and (running.cancelled() or error is not None):
            self._log.info("stopped", reason=self._stop.reason)
            return stop_report(self._stop.reason, execution.stored())
        if error is None:
            return Report("succeeded", tuple(running.result()))
        if isinstance(error, AttemptOver):
            self._stop.set("job_over")
            return None
        if isinstance(error, JobError):
            return Report("failed", execution.stored(), error.with_classes(job.classes))
        self._bug(error)
        return Report("failed", execution.stored(), _BUG)

    def _bug(self, error: BaseException) -> None:
        """Log a bug, in the worker's own log only: a traceback holds paths."""
        self._log.error("bug in the worker", trace="".join(traceback.format_exception(error))[-4000:])

    async def _report_bug(self) -> Report:
        """Report the bug and nothing of the attempt, which may hold what could not be sent."""
        try:
            return await self._reporter.send_blindly(_BUG, self._now() + self._context.timeouts.stop_report_s)
        except Exception as error:
            self._bug(error)
            return Report("failed", error=_BUG)

    def _receipt(self, report: Report | None, code: str | None) -> Receipt:
        ran_ms = self._execution.execution_ms if self._execution is not None else None
        outcome = report.outcome if report is not None else "canceled"
        worn = requires_replacement(report.error) if report is not None else False
        return Receipt(self._ticket.job, self._ticket.attempt, outcome, code, ran_ms, worn)

    def _refused(self, code: str) -> Receipt:
        return Receipt(self._ticket.job, self._ticket.attempt, "refused", code)

    def _log_end(self, receipt: Receipt) -> None:
        left = resources.measure(self._context.settings.data_dir)
        self._log.info(
            "job over",
            outcome=receipt.outcome,
            code=receipt.code,
            memory_free_bytes=left.memory_free_bytes,
            disk_free_bytes=left.disk_free_bytes,
            **vars(self._timings),
        )

    def _ms_since(self, moment: float) -> int:
        return round((self._now() - moment) * 1000)


_BUG = JobError("internal", "The worker failed.")
