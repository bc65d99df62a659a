"""Ranges of one object, read by obstore (Rust's object_store) and waited for by a thread that can stop waiting.

obstore does HTTP, TLS, connections and SigV4. Its calls that block cannot be ended from outside, so its asynchronous
ones run on one event loop, in a thread of its own: a range that nobody waits for any more is canceled there, which
closes its connection. Retries are the pool's, since only the pool knows which connection is slow.

obstore is imported at the first use: a worker without models does not pay for it.
"""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from worker_gpu.models.errors import ModelError
from worker_gpu.models.settings import Bucket

if TYPE_CHECKING:
    from obstore import Attributes, Bytes, GetOptions, GetResult, ObjectMeta
    from obstore.store import ClientConfig, HTTPStore, RetryConfig, S3Store

USER_AGENT = "comfy-edge-worker"
PIECE_BYTES = 512 * 1024
"""A body arrives in pieces of at least this size: each costs a turn of the event loop (about 0.1 ms of the interpreter
lock), and at `settings.Patience.floor_bytes_s` one still comes every 8 s."""
TOTAL_TIMEOUT_S = 7 * 24 * 3600.0
"""What obstore may take for one answer in all. Silence and slowness are what ends a read (`speed.py`)."""
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})[^:\n]*: ?(.*)", re.DOTALL)
_RANGE = re.compile(r"Requested (\d+)\.\.(\d+), got ")
_PERFORMING = re.compile(r"Error performing [A-Z]+ .*? in [0-9.]+.*? - ", re.DOTALL)
_URL = re.compile(r"https?://\S+")
_CAUSE = re.compile(
    r'(?:error|message): "([^"\n]{1,200})"|InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?(\w+)'
    r"|\b(ConnectionRefused|ConnectionReset|TimedOut)\b"
)
_TEXT_CHARACTERS = 300

Check: TypeAlias = Callable[[], None]
"""Called every `look_s` while a thread waits. What it raises ends the wait and cancels the request."""
ObjectStore: TypeAlias = "S3Store | HTTPStore"
_T = TypeVar("_T")


class TransientError(Exception):
    """A read failed in a way that may pass: the same read may be tried again."""


class RefusedError(TransientError):
    """The store answered with an error status. `body`: the beginning of what it sent with it."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"the source answered {status}")
        self.status = status
        self.body = body


class UnexpectedRangeError(TransientError):
    """The answer is about another range. `requested`: the one asked for, cut where the answer says that the object
    ends."""

    def __init__(self, text: str, requested: tuple[int, int]) -> None:
        super().__init__(text)
        self.requested = requested


class NoRangesError(TransientError):
    """The answer is the whole object, where a range of it was asked for."""


def bucket_store(bucket: Bucket, read_timeout_s: float, retries: "RetryConfig | None" = None) -> "S3Store":
    """A client of `bucket`; without `retries` it tries once. Raises `ModelError` bad_setting."""
    from obstore.store import S3Store

    # From a function and not as two words: those would be joined by AWS_SESSION_TOKEN, if the environment has one.
    keys = {
        "access_key_id": bucket.credentials.key_id,
        "secret_access_key": bucket.credentials.secret,
        "expires_at": None,
    }
    try:
        return S3Store(
            bucket.name,
            endpoint=bucket.endpoint,
            region=bucket.credentials.region,
            virtual_hosted_style_request=False,
            # Each of these would be read from a variable AWS_… otherwise.
            unsigned_payload=False,
            skip_signature=False,
            request_payer=False,
            credential_provider=lambda: keys,  # pyright: ignore[reportArgumentType] -- a TypedDict of the stubs alone
            client_options=_client_options(bucket.endpoint, read_timeout_s),
            retry_config=retries or _no_retries(),
        )
    except Exception as error:
        raise _bad_setting(error) from None


def url_store(url: str, headers: dict[str, str], read_timeout_s: float) -> "HTTPStore":
    """A client of the one object at `url`, whose key is "". `headers` are not sent on to another host. Raises
    `ModelError` bad_setting."""
    from obstore.store import HTTPStore

    try:
        return HTTPStore(url, client_options=_client_options(url, read_timeout_s, headers), retry_config=_no_retries())
    except Exception as error:
        raise _bad_setting(error) from None


class RangeBody:
    """An answer: what its head says, and its body in pieces."""

    def __init__(self, transport: "Transport", result: "GetResult") -> None:
        self.meta: ObjectMeta = result.meta
        self.range: tuple[int, int] = result.range
        self.attributes: Attributes = result.attributes
        self._transport = transport
        self._stream = aiter(result.stream(PIECE_BYTES))
        self._next: Future[bytes | Bytes] = self._request_next()

    def read(self, check: Check) -> memoryview:
        """The next piece; empty at the end. Raises `TransientError`, and what `look` raises."""
        piece = memoryview(self._transport.wait(self._next, check))
        if piece:
            # It comes while this one is hashed and written.
            self._next = self._request_next()
        return piece

    def close(self) -> None:
        """Nobody wants the rest: its connection is closed, unless the body was read to its end."""
        self._next.cancel()

    def _request_next(self) -> "Future[bytes | Bytes]":
        return self._transport.start(_next_piece(self._stream))


class Transport:
    """The event loop of a pool and its client of the bucket. For several threads at once. `look_s`: how often a thread
    that waits looks whether it still should."""

    def __init__(self, check_interval_s: float) -> None:
        self.check_interval_s = check_interval_s
        self._bucket: tuple[Bucket, S3Store] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def get(self, store: ObjectStore, key: str, options: "GetOptions", check: Check) -> RangeBody:
        """The head of an answer. Raises `TransientError`, `ModelError`, and what `look` raises."""
        return RangeBody(self, self.wait(self.start(_get(store, key, options)), check))

    def bucket_store(self, bucket: Bucket, read_timeout_s: float) -> "S3Store":
        """The client of `bucket`, whose connections all files share. Raises `ModelError` bad_setting."""
        with self._lock:
            if self._bucket is None or self._bucket[0] != bucket:
                self._bucket = (bucket, bucket_store(bucket, read_timeout_s))
            return self._bucket[1]

    def start(self, work: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Have `work` done."""
        return asyncio.run_coroutine_threadsafe(work, self._running_loop())

    def wait(self, future: "Future[_T]", check: Check) -> _T:
        """Its result. Calls `look` every `look_s`; cancels it when that raises."""
        try:
            while True:
                try:
                    return future.result(self.check_interval_s)
                except TimeoutError:
                    check()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End what is left and close every connection."""
        with self._lock:
            loop, self._loop = self._loop, None
            self._bucket = None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name="models transport", daemon=True).start()
            return self._loop


def to_transient_error(error: Exception) -> TransientError:
    """What obstore raised, with nothing of URLs and keys in its text."""
    # What follows is a picture of Rust's structures.
    text, _, debug = str(error).partition("\n\nDebug source")
    refused = _STATUS.search(text)
    if refused is not None:
        return RefusedError(int(refused[1]), refused[2][:_TEXT_CHARACTERS])
    if "non-partial response" in text or "Range request not supported" in text:
        return NoRangesError("asked for a range, got everything")
    asked = _RANGE.search(text)
    text = _URL.sub("<url>", _PERFORMING.sub("", text))[:_TEXT_CHARACTERS]
    if asked is not None:
        return UnexpectedRangeError(text, (int(asked[1]), int(asked[2])))
    causes = [found[1] or found[2] or found[3] for found in _CAUSE.finditer(debug)]
    return TransientError(f"{text} ({_URL.sub('<url>', causes[-1])})" if causes else text)


async def _get(store: ObjectStore, key: str, options: "GetOptions") -> "GetResult":
    from obstore import get_async

    try:
        return await get_async(store, key, options=options)
    except ValueError as error:
        raise _bad_setting(error) from None
    except Exception as error:
        raise to_transient_error(error) from None


async def _next_piece(stream: "AsyncIterator[bytes]") -> bytes:
    try:
        return await anext(stream, b"")
    except Exception as error:
        raise to_transient_error(error) from None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


async def _cancel_all() -> None:
    loop = asyncio.get_running_loop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    loop.stop()


def _client_options(url: str, read_timeout_s: float, headers: dict[str, str] | None = None) -> "ClientConfig":
    # Over https nothing else is read, whatever a redirect says. HTTP/1.1: ranges on one connection gain nothing.
    plain = urlsplit(url).scheme == "http"
    options: ClientConfig = {
        "allow_http": plain,
        "http1_only": True,
        "connect_timeout": timedelta(seconds=read_timeout_s),
        "read_timeout": timedelta(seconds=read_timeout_s),
        "timeout": timedelta(seconds=TOTAL_TIMEOUT_S),
        "user_agent": USER_AGENT,
    }
    if headers:
        options["default_headers"] = headers
    return options


def _no_retries() -> "RetryConfig":
    return {"max_retries": 0, "retry_timeout": timedelta(seconds=TOTAL_TIMEOUT_S)}


def _bad_setting(error: Exception) -> ModelError:
    # Its text may quote what was to be sent, a key among it.
    return ModelError(
        "bad_setting", f"A request cannot hold this URL or key ({type(error).__name__}): look at URLs and keys."
    )
