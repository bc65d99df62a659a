"""One job of the gateway from claim to receipt: who may stop it, how it ended, who is told. What it does is `Work`."""

import asyncio
import traceback

from worker_gpu import resources
from worker_gpu.aftermath import is_comfy_lost, leave
from worker_gpu.contract import Claim, Output, Receipt, Refused, Report, Ticket, Timings
from worker_gpu.errors import JobError
from worker_gpu.fault import wears_out
from worker_gpu.gateway.channel import Channel
from worker_gpu.gateway.client import AttemptOver, GatewayClient, GatewaySilent
from worker_gpu.graph import class_types
from worker_gpu.preflight import preflight
from worker_gpu.reporting import Reporter
from worker_gpu.shape import ShapeError
from worker_gpu.stop import StopSignal, stopped_report
from worker_gpu.work import Work
from worker_gpu.workplace import Known, Workplace


async def run_job(place: Workplace, ticket: Ticket) -> Receipt:
    """Run the attempt that `ticket` names, and give RunPod's receipt. Never raises for anything the job, ComfyUI or the
    gateway does. On cancellation the job is stopped and reported before `CancelledError` goes on."""
    async with place.turn:
        return await _JobRun(place, ticket).run()


class _JobRun:
    def __init__(self, place: Workplace, ticket: Ticket) -> None:
        self._place = place
        self._ticket = ticket
        self._log = place.log.bind(job=ticket.job, attempt=ticket.attempt)
        self._now = place.tools.now
        self._began = self._now()
        self._until = self._began
        self._timings = Timings()
        self._stop = StopSignal()
        self._gateway = GatewayClient(
            place.http, ticket, place.tools.new_id(), place.patience, self._now, place.tools.random, self._log
        )
        self._channel = Channel(
            place.http, self._gateway, self._stop.set, place.patience, self._now, place.tools.random, self._log
        )
        self._reporter = Reporter(
            self._gateway, self._channel, lambda: place.info, self._timings, place.patience, self._log
        )
        self._work: Work | None = None

    async def run(self) -> Receipt:
        checking, known = asyncio.create_task(preflight(self._place, self._log)), self._place.known
        try:
            claim = await self._gateway.claim(self._place.info, known.catalog.digest if known is not None else None)
        except GatewaySilent as error:
            self._log.error("claim unanswered", cause=str(error))
            return self._refused("gateway_silent")
        except ShapeError as error:
            self._log.error("claim not understood", cause=str(error))
            report = await self._reporter.send_blindly(
                JobError("internal", "The worker did not understand its claim."),
                self._now() + self._place.patience.stop_report_s,
            )
            return self._receipt(report, "internal")
        finally:
            # Its failure is reported by the attempt; here it only must not be left running unheard.
            if not checking.done():
                checking.add_done_callback(lambda task: task.cancelled() or task.exception())
        if isinstance(claim, Refused):
            checking.cancel()
            self._log.info("claim refused", status=claim.status, code=claim.code)
            return self._refused(claim.code)
        self._timings.claim_ms = self._ms_since(self._began)
        self._until = self._now() + claim.time_left_s
        self._log.info("claimed", prompt=claim.prompt_id, nodes=len(claim.workflow), inputs=len(claim.inputs))
        return await self._until_reported(claim, checking)

    async def _until_reported(self, claim: Claim, checking: "asyncio.Task[Known]") -> Receipt:
        """The attempt in a task of its own: RunPod's cancellation stops the job, not the report of it."""
        talking = asyncio.create_task(self._channel.run())
        attempt = asyncio.create_task(self._attempt(claim, checking))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            self._stop.set("provider")
            patience = self._place.patience
            await asyncio.wait({attempt}, timeout=patience.cancel_s + patience.stop_report_s)
            raise
        except Exception as error:
            self._bug(error)
            return self._receipt(await self._report_bug(), _BUG.code)
        finally:
            for task in (attempt, talking):
                task.cancel()
            await asyncio.wait({talking})
            if not talking.cancelled() and (error := talking.exception()) is not None:
                self._bug(error)

    async def _attempt(self, claim: Claim, checking: "asyncio.Task[Known]") -> Receipt:
        work = Work(self._place, claim, self._gateway, self._channel, self._until, self._timings, self._log)
        self._work = work
        working = asyncio.create_task(work.run(checking))
        stopping = asyncio.create_task(self._stop.wait())
        left = max(0.0, self._until - self._now())
        await asyncio.wait({working, stopping}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            self._stop.set("deadline")
        report, code = None, None
        try:
            report = await self._conclude(work, working, class_types(claim.workflow))
            code = self._stop.reason
            if report is not None:
                report, code = await self._reporter.send(
                    report, self._until, work.upload_again, lambda: self._ms_since(self._began), work.ran_with()
                )
        finally:
            # Whatever went wrong: the next job finds a workplace with nothing of this one in it.
            await leave(self._place, work.leftovers(), report.error if report is not None else None, self._log)
        receipt = self._receipt(report, code)
        self._tell(receipt)
        return receipt

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
            await work.take_off()
        return report

    def _outcome(
        self, work: Work, working: "asyncio.Task[list[Output]]", classes: dict[str, str], stopped: bool
    ) -> Report | None:
        error = working.exception() if not working.cancelled() else None
        if stopped and (working.cancelled() or error is not None):
            self._log.info("stopped", reason=self._stop.reason)
            return stopped_report(self._stop.reason, work.stored())
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
            return await self._reporter.send_blindly(_BUG, self._now() + self._place.patience.stop_report_s)
        except Exception as error:
            self._bug(error)
            return Report("failed", error=_BUG)

    def _receipt(self, report: Report | None, code: str | None) -> Receipt:
        ran_ms = self._work.execution_ms if self._work is not None else None
        outcome = report.outcome if report is not None else "canceled"
        worn = wears_out(report.error) if report is not None else False
        return Receipt(self._ticket.job, self._ticket.attempt, outcome, code, ran_ms, worn)

    def _refused(self, code: str) -> Receipt:
        return Receipt(self._ticket.job, self._ticket.attempt, "refused", code)

    def _tell(self, receipt: Receipt) -> None:
        left = resources.measure(self._place.settings.data_dir)
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
