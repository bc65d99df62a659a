"""Which URLs a request can be sent to: looked at where they come in, so that no download meets an unusable one."""

import re
from urllib.parse import SplitResult, urlsplit

from worker_gpu.shape import ShapeError

_NETLOC = re.compile(r"(?:[^@]*@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def parse_url(text: str) -> SplitResult:
    """`text` as a URL of http or https with a host that can be looked up. Raises `ShapeError`, which says why and does
    not quote it."""
    try:
        parts = urlsplit(text)
        # What the look-up of a name does with it: a label may be neither empty nor longer than 63 characters.
        (parts.hostname or "").encode("idna")
        _ = parts.port
    except ValueError:
        raise ShapeError("is no URL: look at its host and port") from None
    if not (text.isprintable() and parts.scheme in ("http", "https") and _NETLOC.fullmatch(parts.netloc)):
        raise ShapeError("must be an http or https URL; in its host only letters, digits, dots and hyphens")
    return parts


def is_secure(parts: SplitResult) -> bool:
    """Whether nobody between here and there can read or change what is sent: https, or this machine."""
    return parts.scheme == "https" or parts.hostname in _LOOPBACK
