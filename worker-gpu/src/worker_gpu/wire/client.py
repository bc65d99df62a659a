"""The calls under `/worker/*` for one attempt, repeated as docs/reference/worker-contract.md says."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

import aiohttp

from worker_gpu.comfy.client import Catalog
from worker_gpu.errors import JobError
from worker_gpu.json_readers import Json, JsonObject, ShapeError, decode, encode, well_formed
from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts
from worker_gpu.wire.contract import (
    Claim,
    MultipartUpload,
    RanWith,
    Refused,
    Report,
    Ticket,
    Timings,
    Upload,
    WorkerInfo,
    missing_names,
    parse_uploads,
    problem_code,
)

REPEATABLE = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 530})
"""Statuses that say nothing about the call itself; 52x and 530 are Cloudflare's own."""


class GatewaySilent(Exception):  # noqa: N818 -- a state of the gateway, not of the code
    """No usable answer within the time the contract gives."""


class AttemptOver(Exception):  # noqa: N818 -- an answer, not a fault
    """401, 404, 409 or 410: the gateway wants nothing more of this attempt."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.code)
        self.refused = refused


@dataclass(frozen=True)
class FileToUpload:
    """What the gateway must know of a file to give URLs for it."""

    name: str
    size_bytes: int
    sha256: str
    content_type: str


@dataclass(frozen=True)
class Stored:
    """The report is stored; `status` is the job's."""

    status: str


@dataclass(frozen=True)
class Missing:
    """These outputs are not in R2 with the size reported."""

    names: tuple[str, ...]


Completed: TypeAlias = Stored | Missing | Refused


class GatewayClient:
    """Calls for one ticket and one claim. `token` may be renewed while calls run."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        ticket: Ticket,
        claim: str,
        timeouts: Timeouts,
        now: Callable[[], float],
        random: Random,
        log: Log,
    ) -> None:
        self.token = ticket.token
        self._http = http
        self._ticket = ticket
        self._claim = claim
        self._timeouts = timeouts
        self._now = now
        self._random = random
        self._log = log
        self._base = f"{ticket.gateway}/worker/jobs/{ticket.job}"
        self._limit = aiohttp.ClientTimeout(total=timeouts.call_s)

    @property
    def channel_url(self) -> str:
        """Where the channel is (http or https; aiohttp upgrades either)."""
        return f"{self._base}/channel?attempt={self._ticket.attempt}&claim={self._claim}"

    async def claim(self, worker: WorkerInfo, catalog: str | None) -> Claim | Refused:
        """Ask for the attempt. Raises `GatewaySilent` after two minutes, `ShapeError` for an answer out of contract."""
        body = self._body(worker=worker.to_wire(), catalog=catalog)
        status, answer = await self._call("POST", "/claim", body, self._now() + self._timeouts.claim_s)
        if status != 200:
            return Refused(status, problem_code(answer, status))
        claim = Claim.parse(answer)
        if (claim.job, claim.attempt) != (self._ticket.job, self._ticket.attempt):
            raise ShapeError("claim: for another job or attempt")
        return claim

    async def send_catalog(self, version: str | None, catalog: Catalog) -> None:
        """Tell the node classes, once and without insistence."""
        body = self._body(comfyui_version=version, classes=list[Json](catalog.classes), nodes=catalog.facts())
        try:
            status, _ = await self._call("PUT", "/catalog", body, self._now())
            if status != 204:
                self._log.warn("catalog not taken", status=status)
        except GatewaySilent as error:
            self._log.warn("catalog not taken", cause=str(error))

    async def uploads(self, files: list[FileToUpload], until: float) -> list[Upload]:
        """URLs for `files`, in their order. Raises `JobError` `output_too_large`, `upload_failed`; `AttemptOver`."""
        listed: list[Json] = [
            {"name": f.name, "size_bytes": f.size_bytes, "sha256": f.sha256, "content_type": f.content_type}
            for f in files
        ]
        status, answer = await self._while_wanted("POST", "/uploads", self._body(files=listed), until)
        if status == 200:
            return parse_uploads(answer, [file.name for file in files])
        if status == 413:
            raise JobError("output_too_large", "The outputs are larger than the gateway takes.")
        raise JobError("upload_failed", f"The gateway gave no URL for an upload ({problem_code(answer, status)}).")

    async def finish_upload(self, upload: MultipartUpload, etags: list[tuple[int, str]], until: float) -> bool:
        """Close a multipart upload; False when the store has no such upload any more. Raises `JobError`
        `upload_failed`; `AttemptOver`."""
        parts: list[Json] = [{"number": number, "etag": etag} for number, etag in etags]
        body = self._body(key=upload.key, upload_id=upload.upload_id, parts=parts)
        status, answer = await self._while_wanted("POST", "/uploads/finish", body, until)
        code = problem_code(answer, status)
        if status not in (200, 204) and code != "output_missing":
            raise JobError("upload_failed", f"A large file was not accepted ({code}).")
        return status in (200, 204)

    async def complete(
        self,
        report: Report,
        last_seq: int,
        timings: Timings,
        worker: WorkerInfo,
        ran_with: RanWith | None,
        until: float,
    ) -> Completed:
        """Say how the attempt ended. Raises `GatewaySilent`."""
        outputs: list[Json] = [output.to_wire() for output in report.outputs]
        body = self._body(
            last_seq=last_seq,
            outcome=report.outcome,
            outputs=outputs,
            error=report.error.to_wire() if report.error is not None else None,
            timings=timings.to_wire(),
            usage={"gpu_ms": timings.execution_ms},
            worker=worker.to_wire(),
            ran_with=ran_with.to_wire() if ran_with is not None else None,
        )
        status, answer = await self._call("POST", "/complete", body, until)
        if status == 200:
            job_status = answer.get("status") if isinstance(answer, dict) else None
            return Stored(job_status if isinstance(job_status, str) else "")
        code = problem_code(answer, status)
        if status == 409 and code == "output_missing":
            return Missing(tuple(missing_names(answer)))
        return Refused(status, code)

    async def _while_wanted(self, method: str, path: str, body: JsonObject, until: float) -> tuple[int, Json]:
        try:
            status, answer = await self._call(method, path, body, until)
        except GatewaySilent as error:
            raise JobError("upload_failed", "The gateway did not answer in time.") from error
        code = problem_code(answer, status)
        if status in (401, 404, 409, 410) and code != "output_missing":
            raise AttemptOver(Refused(status, code))
        return status, answer

    def _body(self, **fields: Json) -> JsonObject:
        return {"attempt": self._ticket.attempt, "claim": self._claim, **fields}

    async def _call(self, method: str, path: str, body: JsonObject, until: float) -> tuple[int, Json]:
        """One call, repeated while there is no answer or one of REPEATABLE, or the token was renewed meanwhile.
        Raises `GatewaySilent` when the next try would begin after `until`."""
        data = encode(well_formed(body)).encode()
        for pause in self._timeouts.backoff(self._random):
            token = self.token
            status, answer, cause, wait_s = await self._try(method, path, data, token)
            if cause is None and not (status == 401 and token != self.token):
                return status, answer
            pause = min(max(pause, wait_s), self._timeouts.claim_retry_after_max_s)
            if self._now() + pause >= until:
                raise GatewaySilent(cause or "token refused")
            self._log.warn("gateway call repeated", call=path, cause=cause or "token renewed", pause_s=round(pause, 3))
            await asyncio.sleep(pause)
        raise AssertionError("backoff never ends")

    async def _try(self, method: str, path: str, data: bytes, token: str) -> tuple[int, Json, str | None, float]:
        """Status, body, why to repeat (None: do not), and for how many seconds the server asked to wait."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        try:
            async with self._http.request(
                method, self._base + path, data=data, headers=headers, timeout=self._limit, allow_redirects=False
            ) as response:
                raw = await response.read()
                status = response.status
                asked = response.headers.get("retry-after", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, None, type(error).__name__, 0.0
        try:
            answer = decode(raw) if raw else None
        except ShapeError:
            # A proxy's page in place of the gateway's answer; a 200 must be the gateway's own.
            return status, None, "not JSON" if status in REPEATABLE or status == 200 else None, 0.0
        cause = f"status {status}" if status in REPEATABLE else None
        return status, answer, cause, float(asked) if asked.isdecimal() else 0.0
