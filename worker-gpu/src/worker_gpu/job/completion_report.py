"""Reports the end of an attempt to the gateway. Uploads outputs again that the store lost, and repeats the report."""

from collections.abc import Awaitable, Callable, Mapping

from worker_gpu.errors import JobError
from worker_gpu.json_readers import JsonObject
from worker_gpu.lifecycle import resources
from worker_gpu.lifecycle.worker_context import WorkerContext
from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts
from worker_gpu.wire.channel import Channel
from worker_gpu.wire.client import AttemptOver, GatewayClient, GatewaySilent, Missing, Stored
from worker_gpu.wire.contract import RanWith, Refused, Report, Timings, WorkerInfo


def ran_with(context: WorkerContext, workflow: Mapping[str, JsonObject]) -> RanWith:
    """What explains the result later: the models by their hash, and the memory and disk that were free."""
    models = context.models.requested_by(workflow) if context.models is not None else ()
    free = resources.measure(context.settings.data_dir)
    return RanWith(tuple((model.path, model.sha256) for model in models), free.memory_free_bytes, free.disk_free_bytes)


MAX_UPLOADS_AGAIN = 2
"""How often outputs that R2 lacks are uploaded again (contract, "complete")."""

UploadAgain = Callable[[tuple[str, ...]], Awaitable[bool]]
"""Uploads the named outputs once more; False when one of them is unknown."""


class Reporter:
    """Reports one attempt. `timings` are sent as they are at that moment."""

    def __init__(
        self,
        gateway: GatewayClient,
        channel: Channel,
        worker: Callable[[], WorkerInfo],
        timings: Timings,
        timeouts: Timeouts,
        log: Log,
    ) -> None:
        self._gateway = gateway
        self._channel = channel
        self._worker = worker
        self._timings = timings
        self._timeouts = timeouts
        self._log = log
        self._last_seq = 0

    async def send(
        self,
        report: Report,
        deadline: float,
        upload_again: UploadAgain,
        clock: Callable[[], int],
        ran_with: RanWith | None = None,
    ) -> tuple[Report, str | None]:
        """Report once the channel is settled. Gives the report that counted in the end, and a code for the receipt:
        that of its error, or why it was not stored. `clock` gives the attempt's age in milliseconds."""
        self._last_seq = await self._channel.drain(self._timeouts.drain_s)
        uploads_left = MAX_UPLOADS_AGAIN
        while True:
            self._timings.total_ms = clock()
            until = deadline + self._timeouts.complete_grace_s
            try:
                answer = await self._gateway.complete(
                    report, self._last_seq, self._timings, self._worker(), ran_with, until
                )
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
                    if not report.outputs:
                        return report, "output_missing"
                    report = await self._after_missing(report, names, upload_again if uploads_left > 0 else None)
                    uploads_left -= 1

    async def send_blindly(self, error: JobError, until: float) -> Report:
        """Report a failure and nothing else, where the claim could not be read or the report not be sent."""
        report = Report("failed", error=error)
        try:
            await self._gateway.complete(report, self._last_seq, self._timings, self._worker(), None, until)
        except GatewaySilent as silent:
            self._log.error("complete unanswered", cause=str(silent))
        return report

    async def _after_missing(self, report: Report, names: tuple[str, ...], upload_again: UploadAgain | None) -> Report:
        """The same report once the store has these outputs again, else a failure. What a job that failed anyway leaves
        behind is not worth the trouble."""
        if report.outcome != "succeeded":
            return Report(report.outcome, (), report.error)
        lost = Report("failed", error=JobError("upload_failed", "The store lost outputs that were uploaded."))
        if upload_again is None:
            return lost
        try:
            return report if await upload_again(names) else lost
        except JobError as error:
            return Report("failed", error=error)
        except AttemptOver:
            return lost
