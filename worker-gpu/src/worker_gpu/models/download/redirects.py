"""Resolves the redirects of a file on Hugging Face or another server, once, before its ranges are read.

This uses the standard library. obstore follows redirects by itself, but the hub's token must go to the hub only, and
plain HTTP is not allowed. It also hides the headers of errors, of which one has the hub's reason (X-Error-Code).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from worker_gpu.json_readers import ShapeError
from worker_gpu.models.download.transport import USER_AGENT, TransientError
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.urls import is_secure, parse_url

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5
_URL_SAFE = "%/:?#[]@!$&'()*+,;=~-._"


@dataclass(frozen=True)
class Head:
    """The status and headers of the response from `url`. Header names are lower case."""

    url: str
    status: int
    headers: Mapping[str, str]


class _NoRedirects(HTTPRedirectHandler):
    """Raises a redirect as an `HTTPError`, like every status that is not a success."""

    def http_error_302(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage) -> None:  # noqa: ARG002
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def request_head(method: str, url: str, headers: Mapping[str, str], read_timeout_s: float) -> Head:
    """Send one request without reading the body of the response. Raises `TransientError`, or `ModelError`
    bad_setting if the URL or the key is not valid in a request."""
    try:
        request = Request(quote(url, safe=_URL_SAFE), method=method)  # noqa: S310 -- of parse_url: http or https
        for name, value in {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}.items():
            request.add_header(name, value)
        try:
            with build_opener(_NoRedirects).open(request, timeout=read_timeout_s) as answer:
                status, sent = answer.status, answer.headers
        except HTTPError as error:
            with error:
                status, sent = error.code, error.headers
        return Head(url, status, {name.lower(): value for name, value in sent.items()})
    except (OSError, HTTPException) as error:
        raise TransientError(f"{urlsplit(url).hostname}: {_cause(error)}") from error
    except ValueError as error:
        # The text of the exception may quote the key.
        raise ModelError(
            "bad_setting",
            f"a URL or key is not valid in a request ({type(error).__name__}); check the URLs and keys",
        ) from error


def final_head(url: str, token_host: str, token: str | None, path: str, read_timeout_s: float) -> Head:
    """The response to a request for one byte of the file at `url`, after all redirects. `token` is sent only to
    `token_host` (host and port). Raises `TransientError`, or `ModelError` for a redirect that is not secure."""
    for _ in range(MAX_REDIRECTS + 1):
        head = request_head("GET", url, {"Range": "bytes=0-0", **token_for(url, token_host, token)}, read_timeout_s)
        if head.status not in REDIRECTS:
            return head
        target = redirect_target(head)
        if target is None:
            raise ModelError("model_denied", f"{path}: its source redirects to a URL that is not https", path)
        url = target
    raise TransientError("too many redirects")


def token_for(url: str, token_host: str, token: str | None) -> dict[str, str]:
    """The header with the token, if `url` has the host of the token."""
    return {"Authorization": f"Bearer {token}"} if token and urlsplit(url).netloc == token_host else {}


def redirect_target(head: Head) -> str | None:
    """The target of a redirect; None if it is missing or not secure."""
    try:
        target = urljoin(head.url, head.headers.get("location", ""))
        return target if is_secure(parse_url(target)) else None
    except (ValueError, ShapeError):
        return None


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(reason) or type(error).__name__
