"""One job: claim, inputs, execute, collect, upload, complete, receipt. All state of a job is in one `_JobRun`."""

import asyncio
import traceback
from pathlib import Path

from worker_gpu import resources
from worker_gpu.boot import ComfyDidNotStart
from worker_gpu.cleanup import clean_up
from worker_gpu.contract import Claim, Output, Receipt, Refused, Report, Ticket, Timings
from worker_gpu.errors import JobError
from worker_gpu.execution import Execution, Order
from worker_gpu.fault import wears_out
from worker_gpu.gateway.channel import Channel
from worker_gpu.gateway.client import AttemptOver, GatewayClient, GatewaySilent
from worker_gpu.graph import class_types, job_folder
from worker_gpu.inputs import InputFetcher, OwnStore, Store, UploadedStore
from worker_gpu.outputs.collect import Wishes
from worker_gpu.outputs.upload import Uploader
from worker_gpu.preflight import preflight
from worker_gpu.reporting import Reporter
from worker_gpu.shape import ShapeError
from worker_gpu.stop import StopSignal, stopped_report
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
        self._folder = job_folder(ticket.job, ticket.attempt)
        self._spool = place.settings.data_dir / "spool" / self._folder
        self._gateway = GatewayClient(
            place.http, ticket, place.tools.new_id(), place.patience, self._now, place.tools.random, self._log
        )
        self._channel = Channel(
            place.http, self._gateway, self._stop.set, place.patience, self._now, place.tools.random, self._log
        )
        self._reporter = Reporter(self._gateway, self._channel, place.info, self._timings, place.patience, self._log)
        self._store: Store = (
            OwnStore(place.comfy.folders.input) if place.comfy.folders is not None else UploadedStore(place.client)
        )
        self._stored_inputs: list[str] = []
        self._execution: Execution | None = None
        self._catalog: asyncio.Task[None] | None = None

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
            return self._receipt(Report("failed", error=_BUG), _BUG.code)
        finally:
            for task in (attempt, talking):
                task.cancel()
            await asyncio.wait({talking})
            if not talking.cancelled() and (error := talking.exception()) is not None:
                self._bug(error)

    async def _attempt(self, claim: Claim, checking: "asyncio.Task[Known]") -> Receipt:
        work = asyncio.create_task(self._work(claim, checking))
        stopping = asyncio.create_task(self._stop.wait())
        left = max(0.0, self._until - self._now())
        await asyncio.wait({work, stopping}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            self._stop.set("deadline")
        report = await self._conclude(claim, work)
        code: str | None = self._stop.reason
        if report is not None:
            collector = self._execution.collector if self._execution is not None else None
            again = collector.upload_again if collector is not None else _nothing_to_upload
            report, code = await self._reporter.send(report, self._until, again, lambda: self._ms_since(self._began))
        receipt = self._receipt(report, code)
        await self._after(claim, report)
        self._tell(receipt)
        return receipt

    async def _work(self, claim: Claim, checking: "asyncio.Task[Known]") -> list[Output]:
        """The job itself. Raises `JobError`, `AttemptOver`."""
        place = self._place
        place.settings.nodes.check(class_types(claim.workflow))
        known = await checking
        self._spool.mkdir(parents=True, exist_ok=True)
        names = await self._fetch_inputs(claim) if claim.inputs else {}

        def send_catalog() -> None:
            if claim.catalog_wanted and self._catalog is None:
                sending = self._gateway.send_catalog(known.about.version, known.catalog.classes)
                self._catalog = asyncio.create_task(sending)

        execution = Execution(
            place,
            Order(
                prompt_id=claim.prompt_id,
                workflow=claim.workflow,
                folder=self._folder,
                wishes=Wishes(claim.options.temp_outputs, claim.limits),
                previews=claim.options.previews,
                silence_s=float(claim.limits.silence_s),
            ),
            self._channel,
            Uploader(place.http, self._gateway, self._until, place.patience, self._now, place.tools.random, self._log),
            self._spool,
            self._timings,
            self._log,
            send_catalog,
        )
        self._execution = execution
        return await execution.run(known, names)

    async def _fetch_inputs(self, claim: Claim) -> dict[str, str]:
        place, began = self._place, self._now()
        self._channel.stage("inputs")
        fetcher = InputFetcher(
            place.http, self._store, self._spool, place.patience, self._now, place.tools.random, self._log
        )
        names = await fetcher.fetch(claim.inputs, self._until)
        self._stored_inputs = list(names.values())
        self._timings.inputs_ms = self._ms_since(began)
        return names

    async def _conclude(self, claim: Claim, work: "asyncio.Task[list[Output]]") -> Report | None:
        """How the attempt ended, with nothing of it left running; None when the gateway wants no report."""
        stopped = not work.done()
        if stopped:
            work.cancel()
            await asyncio.wait({work})
        report = self._outcome(work, class_types(claim.workflow), stopped)
        if self._execution is not None and not _comfy_is_lost(report):
            await self._stop_comfy(self._execution)
        return report

    def _outcome(self, work: "asyncio.Task[list[Output]]", classes: dict[str, str], stopped: bool) -> Report | None:
        error = work.exception() if not work.cancelled() else None
        if stopped and (work.cancelled() or error is not None):
            self._log.info("stopped", reason=self._stop.reason)
            return stopped_report(self._stop.reason, self._stored())
        if error is None:
            return Report("succeeded", tuple(work.result()))
        if isinstance(error, AttemptOver):
            self._stop.set("job_over")
            return None
        if isinstance(error, JobError):
            return Report("failed", self._stored(), error.with_classes(classes))
        self._bug(error)
        return Report("failed", self._stored(), _BUG)

    def _stored(self) -> tuple[Output, ...]:
        """What is in the store, however the job ended: its owner has been told of it."""
        return self._execution.stored() if self._execution is not None else ()

    def _bug(self, error: BaseException) -> None:
        """For the worker's own log only: a trace holds paths."""
        self._log.error("bug in the worker", trace="".join(traceback.format_exception(error))[-4000:])

    async def _stop_comfy(self, execution: Execution) -> None:
        began = self._now()
        stopped = await execution.take_off()
        if stopped is not None:
            self._log.info("comfyui stopped the prompt", sure=stopped, ms=self._ms_since(began))

    async def _after(self, claim: Claim, report: Report | None) -> None:
        """Leave the workplace as it was found; nothing here changes how the job ended."""
        place = self._place
        if _comfy_is_lost(report):
            await self._restart_comfy(claim.prompt_id)
        else:
            await self._revive_comfy()
        out_of_memory = report is not None and report.error is not None and report.error.code == "out_of_memory"
        output: Path | None = place.comfy.folders.output / self._folder if place.comfy.folders is not None else None
        submitted = claim.prompt_id if self._was_submitted else None
        folders = [self._spool, *([output] if output is not None else [])]
        await clean_up(place.client, submitted, folders, self._store, self._stored_inputs, out_of_memory, self._log)

    async def _revive_comfy(self) -> None:
        """One that had to be killed to stop the job starts anew once the stop is reported, not with the next job."""
        try:
            await self._place.comfy.ensure_running()
        except ComfyDidNotStart as error:
            self._log.error("comfyui did not restart", cause=str(error))

    @property
    def _was_submitted(self) -> bool:
        return self._execution is not None and self._execution.submitted

    async def _restart_comfy(self, prompt_id: str) -> None:
        """Ours starts anew; of another's at least the prompt goes, if it comes to itself in time."""
        try:
            if not await self._place.comfy.restart() and self._was_submitted:
                await self._place.executor.stop(prompt_id)
        except ComfyDidNotStart as error:
            self._log.error("comfyui did not restart", cause=str(error))

    def _receipt(self, report: Report | None, code: str | None) -> Receipt:
        ran_ms = self._execution.execution_ms if self._execution is not None else None
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


async def _nothing_to_upload(_names: tuple[str, ...]) -> bool:
    return False


def _comfy_is_lost(report: Report | None) -> bool:
    return report is not None and report.error is not None and report.error.code == "comfyui_unavailable"
