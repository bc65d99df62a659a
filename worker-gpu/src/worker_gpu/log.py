"""Log lines: one object or key=value line per happening, each with the job and attempt it belongs to.

Never pass prompts, graphs, tokens, or URLs with their query to a log call.
"""

import json
import time
from collections.abc import Callable
from typing import Literal, TextIO, TypeAlias

from worker_gpu.json_readers import well_formed_text

Field: TypeAlias = str | int | float | bool | None
Form = Literal["json", "text"]
Level = Literal["debug", "info", "warn", "error"]


class Log:
    """Writes lines to `stream`. `bind` gives a log that repeats the given fields on each line."""

    def __init__(
        self,
        stream: TextIO,
        form: Form = "text",
        now: Callable[[], float] = time.time,
        bound: dict[str, Field] | None = None,
    ) -> None:
        self._stream = stream
        self._form: Form = form
        self._now = now
        self._bound = bound or {}

    def bind(self, **fields: Field) -> "Log":
        """A log whose every line also carries `fields`."""
        return Log(self._stream, self._form, self._now, {**self._bound, **fields})

    def info(self, event: str, **fields: Field) -> None:
        """Something that is part of a normal run."""
        self._write("info", event, fields)

    def warn(self, event: str, **fields: Field) -> None:
        """Something unusual the worker copes with."""
        self._write("warn", event, fields)

    def error(self, event: str, **fields: Field) -> None:
        """Something that made a job or the worker fail."""
        self._write("error", event, fields)

    def _write(self, level: Level, event: str, fields: dict[str, Field]) -> None:
        moment = self._now()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment * 1000) % 1000:03}Z"
        line: dict[str, Field] = {"time": stamp, "level": level, "event": event, **self._bound, **fields}
        text = json.dumps(line, ensure_ascii=False) if self._form == "json" else _as_text(line)
        # Standard output refuses what no UTF-8 can hold, and a log line must fail no job.
        self._stream.write(well_formed_text(text) + "\n")
        self._stream.flush()


def _as_text(line: dict[str, Field]) -> str:
    return " ".join(f"{key}={_as_word(value)}" for key, value in line.items() if value is not None)


def _as_word(value: Field) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    word = str(value)
    return json.dumps(word, ensure_ascii=False) if not word or any(c in word for c in ' "=\n\t') else word
