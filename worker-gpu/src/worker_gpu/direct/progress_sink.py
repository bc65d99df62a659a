"""Tells a direct job's progress onwards: into its RunPod status, or its stream."""

from collections.abc import Callable

from worker_gpu.comfy.progress import Progress
from worker_gpu.contract import Output, Stage
from worker_gpu.direct.request import progress_line
from worker_gpu.direct.response import AnswerRoom, file_name
from worker_gpu.shape import Json, JsonObject


class Teller:
    """An `execution.Audience`. Previews are dropped: a status is polled, and a stream's chunks are kept."""

    def __init__(self, tell: Callable[[JsonObject], None], room: AnswerRoom | None) -> None:
        self._tell = tell
        self._room = room
        self._warnings: dict[tuple[str, str], Json] = {}

    def warnings(self) -> JsonObject:
        """The warnings of the job as a part of its response; empty without any."""
        return {"warnings": list(self._warnings.values())} if self._warnings else {}

    def stage(self, stage: Stage, message: str | None = None) -> None:
        """See `Audience`."""
        if stage == "executing" and self._room is not None:
            self._room.begin_again()
        told: JsonObject = {"type": "stage", "stage": stage}
        self._tell(told if message is None else {**told, "message": message})

    def progress(self, progress: Progress) -> None:
        """See `Audience`."""
        self._tell(progress_line(progress))

    def output(self, output: Output) -> None:
        """See `Audience`. The content follows with the answer. Raises `JobError` `output_too_large` when that cannot
        hold it."""
        if self._room is not None:
            self._room.take(output)
        self._tell(
            {
                "type": "output",
                **file_name(output),
                "content_type": output.content_type,
                "size_bytes": output.size_bytes,
            }
        )

    def warning(self, code: str, message: str) -> None:
        """See `Audience`. A graph that is run again repeats its warnings."""
        self._warnings[code, message] = {"code": code, "message": message}

    def preview(self, node: str, content_type: str, image: bytes) -> None:
        """See `Audience`."""
