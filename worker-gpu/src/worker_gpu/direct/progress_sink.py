"""Sends the progress of a direct job to its RunPod status or its stream."""

from collections.abc import Callable

from worker_gpu.comfy.progress import Progress
from worker_gpu.direct.request import progress_message
from worker_gpu.direct.response import ResponseBudget, file_name
from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.wire.contract import Output, Stage


class ProgressSink:
    """An `EventSink`."""

    def __init__(self, send: Callable[[JsonObject], None], budget: ResponseBudget | None) -> None:
        self._send = send
        self._budget = budget
        self._warnings: dict[tuple[str, str], Json] = {}

    def warnings(self) -> JsonObject:
        """The warnings of the job as a part of its response; empty without any."""
        return {"warnings": list(self._warnings.values())} if self._warnings else {}

    def stage(self, stage: Stage, message: str | None = None) -> None:
        """See `EventSink`."""
        if stage == "executing" and self._budget is not None:
            self._budget.reset()
        update: JsonObject = {"type": "stage", "stage": stage}
        self._send(update if message is None else {**update, "message": message})

    def progress(self, progress: Progress) -> None:
        """See `EventSink`."""
        self._send(progress_message(progress))

    def output(self, output: Output) -> None:
        """See `EventSink`. The response has the content. Raises `JobError` `output_too_large` if it has no room."""
        if self._budget is not None:
            self._budget.add(output)
        self._send(
            {
                "type": "output",
                **file_name(output),
                "content_type": output.content_type,
                "size_bytes": output.size_bytes,
            }
        )

    def warning(self, code: str, message: str) -> None:
        """See `EventSink`. A workflow that runs again repeats its warnings."""
        self._warnings[code, message] = {"code": code, "message": message}
