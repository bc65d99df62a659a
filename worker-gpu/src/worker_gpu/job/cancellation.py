"""Why a job is stopped before its end. The first reason counts."""

import asyncio
from typing import Literal

from worker_gpu.errors import JobError
from worker_gpu.wire.contract import Output, Report

StopReason = Literal["client", "deadline", "superseded", "job_over", "provider"]
"""`provider`: RunPod's job-stop, which reaches the worker as a cancellation."""


class StopSignal:
    """The first reason to stop the job. The runner waits for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._reason: StopReason | None = None

    @property
    def reason(self) -> StopReason | None:
        """The first reason given; None while the job may run."""
        return self._reason

    def set(self, reason: StopReason) -> None:
        """Stop the job."""
        if self._reason is None:
            self._reason = reason
            self._event.set()

    async def wait(self) -> StopReason:
        """Return the reason once there is one."""
        await self._event.wait()
        return self._reason or "client"


def stop_report(reason: StopReason | None, stored: tuple[Output, ...]) -> Report | None:
    """What to report of a job stopped for `reason`; None where the gateway wants no report of this attempt any more."""
    if reason in ("superseded", "job_over"):
        return None
    if reason == "deadline":
        return Report("failed", stored, JobError("timeout", "The job did not finish by its deadline."))
    return Report("canceled", stored)
