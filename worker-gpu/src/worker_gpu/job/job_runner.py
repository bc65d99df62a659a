"""One job of the gateway from claim to receipt: who may stop it, how it ended, who is told. What it does is `Work`."""

import asyncio
import traceback
from typing import Any

from worker_gpu.errors import JobError
from worker_gpu.job.cancellation import StopSignal, stop_report
from worker_gpu.job.completion_report import Reporter
from worker_gpu.job.graph import class_types
from worker_gpu.job.work import Work
from worker_gpu.json_readers import ShapeError
from worker_gpu.lifecycle import resources
from worker_gpu.lifecycle.job_cleanup import is_comfy_lost, leave, release_after
from worker_gpu.lifecycle.preflight import preflight
from worker_gpu.lifecycle.worker_context import ComfyInfo, WorkerContext
from worker_gpu.lifecycle.worker_health import requires_replacement
from worker_gpu.wire.channel import Channel
from worker_gpu.wire.client import AttemptOver, GatewayClient, GatewaySilent
from worker_gpu.wire.contract import Claim, Output, Receipt, Refused, Report, Ticket, Timings


async def run_job(context: WorkerContext, ticket: Ticket) -> Receipt:
    """Run the attempt that `ticket` names, and give RunPod's receipt. Never raises for anything the job, ComfyUI or the
    gateway does. On cancellation the job is stopped and reported before `CancelledError` goes on; what then is left to
    do, such as to start a ComfyUI that had to be killed, goes on too, and the next job waits for it."""
    await context.turn.acquire()
    run = _JobRun(context, ticket)
    try:
        return await run.run()
    finally:
        release_after(run.busy, context)


class _JobRun:
    def __init__(self, context: WorkerContext, ticket: Ticket) -> None:
        self._context = context
        self._ticket = ticket
        self._log = context.log.bind(job=ticket.job, attempt=ticket.attempt)
        self._now = context.tools.now
        self._began = self._now()
        self._until = self._began
        self._timings = Timings()
        self._stop = StopSignal()
        self._gateway = GatewayClient(
            context.http, ticket, context.tools.new_id(), context.timeouts, self._now, context.tools.random, self._log
        )
        self._channel = Channel(
            context.http, self._gateway, self._stop.set, context.timeouts, self._now, context.tools.random, self._log
        )
        self._reporter = Reporter(
            self._gateway, self._channel, lambda: context.info, self._timings, context.timeouts, self._log
        )
        self._work: Work | None = None
        self.busy: asyncio.Task[Any] | None = None
        """What of it may still run when `run` has ended."""
        self._wanted_elsewhere = False
        self._report_limit: asyncio.Timeout | None = None

    async def run(self) -> Receipt:
        checking, known = asyncio.create_task(preflight(self._context, self._log)), self._context.current
        # Its failure is reported by the attempt; where there is none, it only must not be left unheard.
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
        return await self._until_left(claim, checking)

    async def _until_left(self, claim: Claim, checking: "asyncio.Task[ComfyInfo]") -> Receipt:
        """The attempt in a task of its own: RunPod's cancellation stops the job, and neither the report of it nor the
        tidying up, which may take longer than RunPod is made to wait."""
        timeouts = self._context.timeouts
        attempt = asyncio.create_task(self._attempt(claim, checking))
        self.busy = attempt
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            self._stop.set("provider")
            self._wanted_elsewhere = True
            if self._report_limit is not None:
                self._report_limit.reschedule(asyncio.get_running_loop().time() + timeouts.stop_report_s)
            await asyncio.wait({attempt}, timeout=timeouts.cancel_s + timeouts.stop_report_s)
            raise
        except Exception as error:
            self._bug(error)
            return self._receipt(Report("failed", error=_BUG), _BUG.code)

    async def _attempt(self, claim: Claim, checking: "asyncio.Task[ComfyInfo]") -> Receipt:
        work = Work(self._context, claim, self._gateway, self._channel, self._until, self._timings, self._log)
        self._work = work
        talking = asyncio.create_task(self._channel.run())
        try:
            report, code = await self._work_and_report(work, claim, checking)
        except Exception as error:
            self._bug(error)
            report, code = await self._report_bug(), _BUG.code
        finally:
            talking.cancel()
            await asyncio.wait({talking})
            if not talking.cancelled() and (error := talking.exception()) is not None:
                self._bug(error)
        receipt = self._receipt(report, code)
        await leave(self._context, work.artifacts(), report.error if report is not None else None, self._log)
        self._tell(receipt)
        return receipt

    async def _work_and_report(
        self, work: Work, claim: Claim, checking: "asyncio.Task[ComfyInfo]"
    ) -> tuple[Report | None, str | None]:
        """How the attempt ended, and the code for the receipt; None where the gateway wants no report."""
        working = asyncio.create_task(work.run(checking))
        stopping = asyncio.create_task(self._stop.wait())
        left = max(0.0, self._until - self._now())
        await asyncio.wait({working, stopping}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            self._stop.set("deadline")
        report = await self._conclude(work, working, class_types(claim.workflow))
        if report is None:
            return None, self._stop.reason
        await work.catalog_sent()
        limit_s = self._context.timeouts.stop_report_s if self._wanted_elsewhere else None
        try:
            async with asyncio.timeout(limit_s) as self._report_limit:
                return await self._reporter.send(
                    report, self._until, work.upload_again, lambda: self._ms_since(self._began), work.ran_with()
                )
        except TimeoutError:
            self._log.error("stop not reported", seconds=self._context.timeouts.stop_report_s)
            return report, "gateway_silent"
        finally:
            self._report_limit = None

    async def _conclude(
        self, work: Work, working: "asyncio.Task[list[Output]]", classes: dict[str, str]
    ) -> Report | None:
        """How the attempt ended, with nothing of it left running; None when the gateway wants no report."""
        stopped = not working.done()
        if stopped:
            working.cancel()
            await asyncio.wait({working})
        report = self._outcome(work, working, classes, stopped)
        if report is None or not is_comfy_lost(report.error):
            await work.cancel_prompt()
        return report

    def _outcome(
        self, work: Work, working: "asyncio.Task[list[Output]]", classes: dict[str, str], stopped: bool
    ) -> Report | None:
        error = working.exception() if not working.cancelled() else None
        if stopped and (working.cancelled() or error is not None):
            self._log.info("stopped", reason=self._stop.reason)
            return stop_report(self._stop.reason, work.stored())
        if error is None:
            return Report("succeeded", tuple(working.result()))
        if isinstance(error, AttemptOver):
            self._stop.set("job_over")
            return None
        if isinstance(error, JobError):
            return Report("failed", work.stored(), error.with_classes(classes))
        self._bug(error)
        return Report("failed", work.stored(), _BUG)

    def _bug(self, error: BaseException) -> None:
        """For the worker's own log only: a trace holds paths."""
        self._log.error("bug in the worker", trace="".join(traceback.format_exception(error))[-4000:])

    async def _report_bug(self) -> Report:
        """A report with nothing of the attempt in it: what failed may be the one that had."""
        try:
            return await self._reporter.send_blindly(_BUG, self._now() + self._context.timeouts.stop_report_s)
        except Exception as error:
            self._bug(error)
            return Report("failed", error=_BUG)

    def _receipt(self, report: Report | None, code: str | None) -> Receipt:
        ran_ms = self._work.execution_ms if self._work is not None else None
        outcome = report.outcome if report is not None else "canceled"
        worn = requires_replacement(report.error) if report is not None else False
        return Receipt(self._ticket.job, self._ticket.attempt, outcome, code, ran_ms, worn)

    def _refused(self, code: str) -> Receipt:
        return Receipt(self._ticket.job, self._ticket.attempt, "refused", code)

    def _tell(self, receipt: Receipt) -> None:
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
