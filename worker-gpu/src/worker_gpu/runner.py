"""One job: claim, inputs, execute, collect, upload, complete, receipt. All state of a job is in one `_JobRun`."""

import asyncio
import contextlib
import traceback
from collections.abc import Callable
from pathlib import Path

from worker_gpu import resources
from worker_gpu.boot import ComfyDidNotStart
from worker_gpu.cleanup import clean_up, make_room
from worker_gpu.comfy.client import ComfyUnreachable, Prompt
from worker_gpu.comfy.progress import Progress
from worker_gpu.contract import Claim, Output, Receipt, Refused, Report, Ticket, Timings
from worker_gpu.errors import JobError
from worker_gpu.gateway.channel import Channel
from worker_gpu.gateway.client import AttemptOver, GatewayClient, GatewaySilent, Missing, Stored
from worker_gpu.graph import class_types, job_folder, rewrite
from worker_gpu.inputs import InputFetcher, OwnStore, Store, UploadedStore
from worker_gpu.outputs.collect import Collector, Wishes
from worker_gpu.outputs.files import OwnFiles, Source, ViewedFiles
from worker_gpu.outputs.names import Names
from worker_gpu.outputs.texts import write_text
from worker_gpu.outputs.upload import Uploader
from worker_gpu.shape import JsonObject, ShapeError
from worker_gpu.stop import StopSignal
from worker_gpu.together import first_of
from worker_gpu.workplace import Known, Workplace

MAX_UPLOADS_AGAIN = 2
"""How often outputs that R2 lacks are uploaded again (contract, "complete")."""


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
        self._store: Store = (
            OwnStore(place.comfy.folders.input) if place.comfy.folders is not None else UploadedStore(place.client)
        )
        self._stored_inputs: list[str] = []
        self._submitting: asyncio.Task[None] | None = None
        self._posted = self._began
        self._started: float | None = None
        self._prompt_over = False
        self._collector: Collector | None = None

    async def run(self) -> Receipt:
        preflight, known = asyncio.create_task(self._preflight()), self._place.known
        try:
            claim = await self._gateway.claim(self._place.info, known.catalog.digest if known is not None else None)
        except GatewaySilent as error:
            self._log.error("claim unanswered", cause=str(error))
            return self._refused("gateway_silent")
        except ShapeError as error:
            self._log.error("claim not understood", cause=str(error))
            return await self._complete_blindly(JobError("internal", "The worker did not understand its claim."))
        finally:
            # Its failure is reported by the attempt; here it only must not be left running unheard.
            if not preflight.done():
                preflight.add_done_callback(lambda task: task.cancelled() or task.exception())
        if isinstance(claim, Refused):
            preflight.cancel()
            self._log.info("claim refused", status=claim.status, code=claim.code)
            return self._refused(claim.code)
        self._timings.claim_ms = self._ms_since(self._began)
        self._until = self._now() + claim.time_left_s
        self._log.info("claimed", prompt=claim.prompt_id, nodes=len(claim.workflow), inputs=len(claim.inputs))
        return await self._until_reported(claim, preflight)

    async def _until_reported(self, claim: Claim, preflight: "asyncio.Task[Known]") -> Receipt:
        """The attempt in a task of its own: RunPod's cancellation stops the job, not the report of it."""
        talking = asyncio.create_task(self._channel.run())
        attempt = asyncio.create_task(self._attempt(claim, preflight))
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

    async def _attempt(self, claim: Claim, preflight: "asyncio.Task[Known]") -> Receipt:
        work = asyncio.create_task(self._work(claim, preflight))
        stopping = asyncio.create_task(self._stop.wait())
        left = max(0.0, self._until - self._now())
        await asyncio.wait({work, stopping}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            self._stop.set("deadline")
        report = await self._conclude(claim, work)
        code: str | None = self._stop.reason
        if report is not None:
            report, code = await self._complete(report)
        receipt = self._receipt(report, code)
        await self._after(claim, report)
        self._tell(receipt)
        return receipt

    async def _work(self, claim: Claim, preflight: "asyncio.Task[Known]") -> list[Output]:
        """The job itself. Raises `JobError`, `AttemptOver`."""
        place = self._place
        known = await preflight
        self._spool.mkdir(parents=True, exist_ok=True)
        classes = class_types(claim.workflow)
        names = await self._fetch_inputs(claim) if claim.inputs else {}
        graph = rewrite(claim.workflow, self._folder, names, known.catalog.classes)
        self._channel.stage("executing")
        catalog: asyncio.Task[None] | None = None
        with place.executor.open() as inbox:
            prompt = Prompt(claim.prompt_id, graph.workflow, claim.options.previews)
            # Shielded: a prompt whose post is cut off may still be queued after it was looked for.
            self._submitting = asyncio.create_task(place.executor.submit(prompt))
            self._posted = self._now()
            await asyncio.shield(self._submitting)
            if claim.catalog_wanted:
                catalog = asyncio.create_task(self._gateway.send_catalog(known.about.version, known.catalog.classes))
            try:
                async with asyncio.TaskGroup() as group:
                    collector = self._make_collector(group, claim, classes, graph.prefixes)
                    self._collector = collector
                    relay = _Relay(self._channel, collector, claim.options.previews, self._run_started)
                    try:
                        listed = await place.executor.follow(
                            claim.prompt_id, classes, inbox, relay, float(claim.limits.silence_s)
                        )
                        self._prompt_over = True
                    finally:
                        self._run_ended()
                    self._channel.stage("uploading")
                    ended = self._now()
                    outputs = await collector.finish(listed)
                    self._timings.upload_ms = self._ms_since(ended)
            except BaseExceptionGroup as failures:
                raise first_of(failures) from None
            finally:
                if catalog is not None:
                    await asyncio.wait({catalog}, timeout=0)
        return outputs

    def _run_started(self) -> None:
        self._started = self._now()
        self._timings.queue_ms = round((self._started - self._posted) * 1000)

    def _run_ended(self) -> None:
        """However it ended: the time on the GPU counts."""
        if self._started is not None:
            self._timings.execution_ms = self._ms_since(self._started)

    async def _preflight(self) -> Known:
        """Room for the job, and a ComfyUI to run it. Raises `JobError`."""
        place = self._place
        settings, folders = place.settings, place.comfy.folders
        found = resources.measure(settings.data_dir)
        if found.disk_free_bytes < settings.min_free_disk_bytes and folders is not None:
            await make_room(place.client, [folders.output, folders.temp, settings.data_dir / "spool"], self._log)
            found = resources.measure(settings.data_dir)
        resources.check(found, settings.min_free_memory_bytes, settings.min_free_disk_bytes)
        try:
            await place.comfy.ensure_running()
            return await place.know()
        except ComfyUnreachable as error:
            raise JobError("comfyui_unavailable", "ComfyUI does not answer.") from error
        except ComfyDidNotStart as error:
            for line in error.tail:
                self._log.error("comfyui says", line=line)
            raise JobError("comfyui_unavailable", "ComfyUI does not start.") from error

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

    def _make_collector(
        self, group: asyncio.TaskGroup, claim: Claim, classes: dict[str, str], prefixes: dict[str, str]
    ) -> Collector:
        place = self._place
        source: Source = ViewedFiles(place.client, self._spool)
        if place.comfy.folders is not None:
            source = OwnFiles(place.comfy.folders.output, self._folder, source)
        uploader = Uploader(
            place.http, self._gateway, self._until, place.patience, self._now, place.tools.random, self._log
        )
        return Collector(
            group,
            source,
            uploader,
            Names(self._folder),
            classes,
            prefixes,
            Wishes(claim.options.temp_outputs, claim.limits),
            lambda text: write_text(text, self._spool),
            self._channel.output,
        )

    async def _conclude(self, claim: Claim, work: "asyncio.Task[list[Output]]") -> Report | None:
        """How the attempt ended, with nothing of it left running; None when the gateway wants no report."""
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
        report = self._outcome(work, class_types(claim.workflow))
        if self._submitting is not None and not self._prompt_over and not _comfy_is_lost(report):
            await asyncio.wait({self._submitting}, timeout=self._place.patience.comfy_call_s)
            if not self._refused_by_comfy():
                await self._stop_comfy(claim.prompt_id)
        return report

    def _outcome(self, work: "asyncio.Task[list[Output]]", classes: dict[str, str]) -> Report | None:
        if work.cancelled():
            return self._stopped()
        error = work.exception()
        if error is None:
            return Report("succeeded", tuple(work.result()))
        if isinstance(error, JobError):
            return Report("failed", self._stored(), error.with_classes(classes))
        if isinstance(error, AttemptOver):
            self._stop.set("job_over")
            return None
        self._bug(error)
        return Report("failed", self._stored(), _BUG)

    def _stopped(self) -> Report | None:
        reason = self._stop.reason
        self._log.info("stopped", reason=reason)
        if reason in ("superseded", "job_over"):
            return None
        if reason == "deadline":
            timeout = JobError("timeout", "The job did not finish by its deadline.")
            return Report("failed", self._stored(), timeout)
        return Report("canceled", self._stored())

    def _stored(self) -> tuple[Output, ...]:
        """What is in the store, however the job ended: its owner has been told of it."""
        return self._collector.stored() if self._collector is not None else ()

    def _bug(self, error: BaseException) -> None:
        """For the worker's own log only: a trace holds paths."""
        self._log.error("bug in the worker", trace="".join(traceback.format_exception(error))[-4000:])

    def _refused_by_comfy(self) -> bool:
        """Whether the prompt never got into ComfyUI's queue."""
        task = self._submitting
        return task is not None and task.done() and not task.cancelled() and isinstance(task.exception(), JobError)

    async def _stop_comfy(self, prompt_id: str) -> None:
        began = self._now()
        try:
            stopped = await self._place.executor.stop(prompt_id)
        except ComfyDidNotStart as error:
            self._log.error("comfyui did not restart", cause=str(error))
            return
        self._log.info("comfyui stopped the prompt", sure=stopped, ms=self._ms_since(began))

    async def _complete(self, report: Report) -> tuple[Report, str | None]:
        """Report to the gateway. Gives the report that counted in the end, and a code for the receipt: that of its
        error, or why it was not stored."""
        until = self._until + self._place.patience.complete_grace_s
        last_seq = await self._channel.settle(self._place.patience.settle_s)
        uploads_left = MAX_UPLOADS_AGAIN
        while True:
            self._timings.total_ms = self._ms_since(self._began)
            try:
                answer = await self._gateway.complete(report, last_seq, self._timings, self._place.info, until)
            except GatewaySilent as error:
                self._log.error("complete unanswered", cause=str(error))
                return report, "gateway_silent"
            match answer:
                case Stored(status=status):
                    self._log.info("completed", outcome=report.outcome, status=status)
                    return report, report.error.code if report.error is not None else None
                case Refused(status=status, code=code):
                    self._log.warn("complete refused", status=status, code=code)
                    return report, code
                case Missing(names=names):
                    self._log.warn("outputs missing in the store", count=len(names), uploads_left=uploads_left)
                    if report.outcome != "succeeded":
                        report = Report(report.outcome, (), report.error)
                        continue
                    report = await self._upload_again(report, names) if uploads_left > 0 else _LOST
                    uploads_left -= 1

    async def _upload_again(self, report: Report, names: tuple[str, ...]) -> Report:
        """The same report once the store has these outputs again, else a failure."""
        if self._collector is None:
            return _LOST
        try:
            return report if await self._collector.upload_again(names) else _LOST
        except JobError as error:
            return Report("failed", error=error)
        except AttemptOver:
            return _LOST

    async def _complete_blindly(self, error: JobError) -> Receipt:
        """Report a failure for a claim that could not be read: without a channel, and for a short while only."""
        report = Report("failed", error=error)
        with contextlib.suppress(GatewaySilent):
            await self._gateway.complete(
                report, 0, self._timings, self._place.info, self._now() + self._place.patience.stop_report_s
            )
        return self._receipt(report, error.code)

    async def _after(self, claim: Claim, report: Report | None) -> None:
        """Leave the workplace as it was found; nothing here changes how the job ended."""
        place = self._place
        if _comfy_is_lost(report):
            await self._restart_comfy(claim.prompt_id)
        out_of_memory = report is not None and report.error is not None and report.error.code == "out_of_memory"
        output: Path | None = place.comfy.folders.output / self._folder if place.comfy.folders is not None else None
        submitted = claim.prompt_id if self._submitting is not None else None
        folders = [self._spool, *([output] if output is not None else [])]
        await clean_up(place.client, submitted, folders, self._store, self._stored_inputs, out_of_memory, self._log)

    async def _restart_comfy(self, prompt_id: str) -> None:
        """Ours starts anew; of another's at least the prompt goes, if it comes to itself in time."""
        try:
            if not await self._place.comfy.restart() and self._submitting is not None:
                await self._place.executor.stop(prompt_id)
        except ComfyDidNotStart as error:
            self._log.error("comfyui did not restart", cause=str(error))

    def _receipt(self, report: Report | None, code: str | None) -> Receipt:
        ran_ms = self._timings.execution_ms if self._started is not None else None
        outcome = report.outcome if report is not None else "canceled"
        return Receipt(self._ticket.job, self._ticket.attempt, outcome, code, ran_ms)

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


_LOST = Report("failed", error=JobError("upload_failed", "The store lost outputs that were uploaded."))


_BUG = JobError("internal", "The worker failed.")


class _Relay:
    """Passes what a run tells to the channel and the collector."""

    def __init__(self, channel: Channel, collector: Collector, previews: bool, on_start: Callable[[], None]) -> None:
        self._channel = channel
        self._collector = collector
        self._previews = previews
        self._on_start = on_start

    def started(self) -> None:
        self._on_start()

    def progressed(self, progress: Progress) -> None:
        self._channel.progress(progress)

    def showed(self, node: str, output: JsonObject) -> None:
        self._collector.showed(node, output)

    def previewed(self, node: str, content_type: str, image: bytes) -> None:
        if self._previews:
            self._channel.preview(node, content_type, image)


def _comfy_is_lost(report: Report | None) -> bool:
    return report is not None and report.error is not None and report.error.code == "comfyui_unavailable"
