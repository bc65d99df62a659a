"""What of a text may leave the worker: ComfyUI's own message, which the author of a graph needs, without what only
tells of the machine (folders, hosts, addresses, stack traces) and without secrets.

The gateway has the same rule for another worker's messages (src/providers/gpu/worker-comfyui/message.ts); both are held
against test/fixtures/public-messages.json.
"""

import re
from collections.abc import Iterable

from worker_gpu.json_readers import well_formed_text

MAX_MESSAGE_CHARS = 500
"""Enough for any one-line cause; longer texts are tracebacks or dumps of inputs."""

READ_PER_KEPT = 8
"""Characters that are searched per character that may be kept. Some patterns take quadratic time."""

TRACE = "Traceback (most recent call last)"
_FRAME = re.compile(r"""\bFile (?:"[^"\n]*"|'[^'\n]*'), line \d+(?:, in [\w.<>]+)?""")
"""A frame of Python's traceback, where its head is cut off."""

_SECRET = re.compile(
    r"\bBearer\s+[\w.~+/=-]{8,}"
    r"|\b(?:hf_|rpa_|r8_|ghp_|github_pat_|sk-)[\w-]{16,}"
    r"|\bcomfyui-[0-9a-f]{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    re.IGNORECASE,
)
"""Tokens by the forms in which Hugging Face, RunPod, Replicate, GitHub, OpenAI, comfy.org and AWS give them; JSON Web
Tokens."""
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_ADDRESS = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|\[(?=(?:[0-9a-f]*:){2})[0-9a-f:]{3,}\](?::\d+)?"
    r"|\blocalhost(?::\d+)?\b",
    re.IGNORECASE,
)
_LABELS = r"(?<![\w./-])(?:[a-z0-9-]+\.)*[a-z0-9-]+"
_HOSTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # As aiohttp, requests and urllib3 name them, of one label too.
        rf"(?<=\bhost ){_LABELS}:\d{{1,5}}\b",
        r"(?<=\bhost=)(['\"])[^'\"\s]+\1",
        r"(?<=\bFailed to resolve )(['\"])[^'\"\s]+\1",
        r"(?<=\bhostname )(['\"])[^'\"\s]+\1",
        # By their ends. Attributes and modules may be called so, too (torchvision.io, threading.local): common ones
        # are hosts only with a port.
        rf"{_LABELS}\.(?:net|io|ai|co|dev|app|cloud|eu|run):\d{{2,5}}\b",
        rf"{_LABELS}\.(?:com|org|runpod\.(?:ai|io|net))\b(?::\d+)?(?!\.?\w)",
        rf"(?!threading\.){_LABELS}\.(?:internal|intranet|lan|corp|localdomain|local)\b(?::\d+)?(?!\.?\w)",
    )
)
_QUOTED_PATH = re.compile(r"(['\"])(?:~?/|[A-Za-z]:[\\/]|\\\\)[^'\"\n]*[/\\]([^'\"\n/\\]+)\1")
_WINDOWS_FOLDERS = re.compile(r"\b[A-Za-z]:[\\/](?:[^\\/\s'\"<>|:]+[\\/])*|\\\\[^\\\s]+\\(?:[^\\\s'\"<>|:]+\\)*")
_UNIX_FOLDERS = re.compile(r"(?<![\w.~%+-])~?/(?=\S)(?:[^\s/'\"<>|:,;()]+/)*")


def public_text(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """`text` for a client, on one line of at most `limit` characters: without folders of absolute paths, URLs, hosts,
    addresses, secrets and stack traces."""
    text = text.split(TRACE)[0]
    return without_paths(_FRAME.sub("", text), limit)


def without_paths(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Redact `text` for the worker's owner: like `public_text`, but lines of stack traces are kept."""
    text = _SECRET.sub("<secret>", _beginning(text, READ_PER_KEPT * limit))
    text = _URL.sub("<url>", text)
    text = _ADDRESS.sub("<address>", text)
    for host in _HOSTS:
        text = host.sub("<address>", text)
    text = _QUOTED_PATH.sub(r"\1\2\1", text)
    text = _WINDOWS_FOLDERS.sub("", text)
    text = _UNIX_FOLDERS.sub("", text)
    text = well_formed_text(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _beginning(text: str, most: int) -> str:
    """Cut `text` to at most `most` characters at the end of a word, because half a secret is not recognized."""
    if len(text) <= most:
        return text
    words = text[:most].rsplit(None, 1)
    return words[0] if len(words) > 1 else "…"


def without_traces(lines: Iterable[str]) -> list[str]:
    """Lines of a log without those of Python's stack traces. The exception itself, at a trace's end, stays."""
    kept: list[str] = []
    inside = False
    for line in lines:
        if TRACE in line:
            inside = True
        elif _FRAME.match(line.strip()):
            # The head of the trace may be lost.
            inside = line[:1].isspace()
        elif not (inside and (line[:1].isspace() or not line)):
            inside = False
            kept.append(line)
    return kept
