"""Which URLs are valid for requests. They are validated at the edge, so that no download fails on a malformed URL."""

import re
from urllib.parse import SplitResult, urlsplit

from worker_gpu.json_readers import ShapeError

_NETLOC = re.compile(r"(?:[^@]*@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def parse_url(text: str) -> SplitResult:
    """Parse an http or https URL whose host DNS can resolve. Raises `ShapeError`, which does not quote the URL."""
    try:
        parts = urlsplit(text)
        # As DNS resolution does: a label must have 1 to 63 characters.
        (parts.hostname or "").encode("idna")
        _ = parts.port
    except ValueError:
        raise ShapeError("is not a valid URL: check its host and port") from None
    if not (text.isprintable() and parts.scheme in ("http", "https") and _NETLOC.fullmatch(parts.netloc)):
        raise ShapeError(
            "must be an http or https URL whose host has only letters, digits, dots, hyphens and underscores"
        )
    return parts


def is_secure(parts: SplitResult) -> bool:
    """Whether others on the network cannot read or change the request: https, or loopback."""
    return parts.scheme == "https" or parts.hostname in _LOOPBACK
