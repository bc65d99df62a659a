"""Reads ranges of objects with obstore (Rust's object_store), for threads that can cancel a read.

obstore implements HTTP, TLS, connection pools and SigV4. Its blocking calls cannot be canceled. So the asynchronous
ones run on one event loop in a thread of its own, where canceling a read closes its connection. The pool retries, and
not obstore, since only the pool knows which connection is slow.

obstore is imported on first use, so a worker without models does not load it.
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
"""The minimum size of the pieces of a body. Each piece needs a step of the event loop (about 0.1 ms of the interpreter
lock). At `TransferTimeouts.min_bytes_per_s` a piece still arrives every 8 s."""
TOTAL_TIMEOUT_S = 7 * 24 * 3600.0
"""obstore's limit for a whole response, which is never reached: a read ends when it stalls or is slow (`speed.py`)."""
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
"""Called every `check_interval_s` while a thread waits. Its exception ends the wait and cancels the request."""
ObjectStore: TypeAlias = "S3Store | HTTPStore"
_T = TypeVar("_T")


class TransientError(Exception):
    """A read failed, and a retry may succeed."""


class RefusedError(TransientError):
    """The store responded with an error status. `body` is the beginning of the response body."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"the source responded with {status}")
        self.status = status
        self.body = body


class UnexpectedRangeError(TransientError):
    """The response is for another range. `requested` is the requested range, up to the end of the object by the
    response."""

    def __init__(self, text: str, requested: tuple[int, int]) -> None:
        super().__init__(text)
        self.requested = requested


class NoRangesError(TransientError):
    """The response to a range request is the whole object."""


def bucket_store(bucket: Bucket, read_timeout_s: float, retries: "RetryConfig | None" = None) -> "S3Store":
    """An obstore client of `bucket`. It does not retry without `retries`. Raises `ModelError` bad_setting."""
    from obstore.store import S3Store

    # Returned by a function, since obstore adds AWS_SESSION_TOKEN of the environment to keys given as options.
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
            # obstore reads options that are not given here from environment variables AWS_….
            unsigned_payload=False,
            skip_signature=False,
            request_payer=False,
            credential_provider=lambda: keys,  # pyright: ignore[reportArgumentType] -- a TypedDict only in the stubs
            client_options=_client_options(bucket.endpoint, read_timeout_s),
            retry_config=retries or _no_retries(),
        )
    except Exception as error:
        raise _bad_setting(error) from None


def url_store(url: str, headers: dict[str, str], read_timeout_s: float) -> "HTTPStore":
    """An obstore client of the one object at `url`, whose key is "". `headers` are not sent to other hosts. Raises
    `ModelError` bad_setting."""
    from obstore.store import HTTPStore

    try:
        return HTTPStore(url, client_options=_client_options(url, read_timeout_s, headers), retry_config=_no_retries())
    except Exception as error:
        raise _bad_setting(error) from None


class RangeBody:
    """A response: its metadata, and its body in pieces."""

    def __init__(self, transport: "Transport", result: "GetResult") -> None:
        self.meta: ObjectMeta = result.meta
        self.range: tuple[int, int] = result.range
        self.attributes: Attributes = result.attributes
        self._transport = transport
        self._stream = aiter(result.stream(PIECE_BYTES))
        self._next: Future[bytes | Bytes] = self._request_next()

    def read(self, check: Check) -> memoryview:
        """The next piece; empty at the end. Raises `TransientError`, and what `check` raises."""
        piece = memoryview(self._transport.wait(self._next, check))
        if piece:
            # The next piece arrives while the caller hashes and writes this one.
            self._next = self._request_next()
        return piece

    def close(self) -> None:
        """Cancel the rest of the body, which closes the connection unless the body was read to its end."""
        self._next.cancel()

    def _request_next(self) -> "Future[bytes | Bytes]":
        return self._transport.start(_next_piece(self._stream))


class Transport:
    """The event loop of a pool and its client of the bucket. Threads may share it. `check_interval_s` is how often a
    waiting thread calls its check."""

    def __init__(self, check_interval_s: float) -> None:
        self.check_interval_s = check_interval_s
        self._bucket: tuple[Bucket, S3Store] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def get(self, store: ObjectStore, key: str, options: "GetOptions", check: Check) -> RangeBody:
        """Request an object or a range. Raises `TransientError`, `ModelError`, and what `check` raises."""
        return RangeBody(self, self.wait(self.start(_get(store, key, options)), check))

    def bucket_store(self, bucket: Bucket, read_timeout_s: float) -> "S3Store":
        """The client of `bucket`. All files share its connections. Raises `ModelError` bad_setting."""
        with self._lock:
            if self._bucket is None or self._bucket[0] != bucket:
                self._bucket = (bucket, bucket_store(bucket, read_timeout_s))
            return self._bucket[1]

    def start(self, work: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Run `work` on the event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._running_loop())

    def wait(self, future: "Future[_T]", check: Check) -> _T:
        """The result of `future`. Calls `check` every `check_interval_s`, and cancels `future` if that raises."""
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
        """Cancel all reads and close every connection."""
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
    """Convert an exception of obstore. The text contains no URLs and no keys."""
    # The rest of the text is a debug output of Rust structures.
    text, _, debug = str(error).partition("\n\nDebug source")
    refused = _STATUS.search(text)
    if refused is not None:
        return RefusedError(int(refused[1]), refused[2][:_TEXT_CHARACTERS])
    if "non-partial response" in text or "Range request not supported" in text:
        return NoRangesError("requested a range, got the whole object")
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
    # With an https URL a redirect to http fails. HTTP/1.1: HTTP/2 would put all ranges on one connection.
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
    # The text of the exception may quote the key.
    return ModelError(
        "bad_setting",
        f"a URL or key is not valid in a request ({type(error).__name__}); check the URLs and keys",
    )
