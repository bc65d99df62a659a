"""The state machine of one prompt: socket messages and history polls go in, events come out. No I/O, no clock.

As long as no message was missed, the messages of a prompt describe its whole run, success included. A socket that
broke may have missed some, and ComfyUI never sends them again: then the history decides the end, as it does for every
failure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from worker_gpu.comfy.frames import PreviewFrame
from worker_gpu.comfy.history_status import Failed, HistoryStatus, Missing, Pending, Succeeded, Unreadable
from worker_gpu.comfy.messages import (
    Cached,
    Ending,
    Executed,
    Executing,
    FilesWritten,
    Message,
    ProgressState,
    Started,
    Step,
    WrittenFile,
)
from worker_gpu.comfy.progress import Progress, ProgressBook
from worker_gpu.errors import JobError, NodeRef
from worker_gpu.json_readers import JsonObject

POLLS_BEFORE_LOST = 2
"""A prompt that this many polls in a row do not find is lost: ComfyUI was restarted, or its queue was cleared."""
POLLS_BEFORE_UNREADABLE = 5
"""After this many unreadable polls in a row the history counts as broken."""

UNREADABLE = "ComfyUI cannot tell what the graph gave: most likely a node listed an output that is no JSON."


@dataclass(frozen=True)
class RunStarted:
    """ComfyUI took the prompt from its queue."""


@dataclass(frozen=True)
class Progressed:
    """Progress over the graph changed."""

    progress: Progress


@dataclass(frozen=True)
class NodeOutput:
    """A node listed outputs. `node` is the node of the graph they belong to."""

    node: str
    output: JsonObject


@dataclass(frozen=True)
class Previewed:
    """A picture of a node at work."""

    node: str
    content_type: str
    image: bytes


@dataclass(frozen=True)
class PollNow:
    """The end is announced: look at the history, which has it already when `written`."""

    written: bool


@dataclass(frozen=True)
class RunEnded:
    """The prompt is over. `outputs` are all that were listed, by node of the graph. `listed_last` are the nodes after
    whose listing no node ran; empty where the history reported the end, which may be ahead of the messages."""

    error: JobError | None
    outputs: tuple[tuple[str, JsonObject], ...] = ()
    interrupted: bool = False
    listed_last: frozenset[str] = frozenset()
    written: tuple[WrittenFile, ...] = ()
    began_ms: int | None = None


PromptEvent: TypeAlias = RunStarted | Progressed | NodeOutput | Previewed | PollNow | RunEnded


class PromptState:
    """The run of the prompt `prompt_id` whose nodes have the classes `classes`. `reports_files`: the worker's package
    is inside this ComfyUI and tells at the end what the prompt wrote."""

    def __init__(self, prompt_id: str, classes: Mapping[str, str], reports_files: bool = False) -> None:
        self._prompt_id = prompt_id
        self._classes = classes
        self._book = ProgressBook(classes)
        self._phase: Literal["queued", "running", "ended"] = "queued"
        self._states_seen = False
        self._unread: ProgressState | None = None
        self._current_is_newer = False
        self._times_gone = 0
        self._times_unreadable = 0
        self._reports_files = reports_files
        self._missed = False
        self._began_ms: int | None = None
        self._succeeded_by_message = False
        self._listed: dict[str, JsonObject] = {}
        self._shown_as: dict[str, str] = {}
        self._listed_last: set[str] = set()
        self._written: tuple[WrittenFile, ...] | None = None

    @property
    def saw_all_messages(self) -> bool:
        """Whether no message of the prompt can have been missed."""
        return not self._missed

    @property
    def ended(self) -> bool:
        """True after `RunEnded`."""
        return self._phase == "ended"

    @property
    def queued(self) -> bool:
        """True until ComfyUI begins it: other prompts may be before it."""
        return self._phase == "queued"

    @property
    def current(self) -> NodeRef | None:
        """The node that ComfyUI said last that it runs."""
        node = self._book.current
        return NodeRef(node, self._classes.get(node, "")) if node is not None else None

    @property
    def has_unread_states(self) -> bool:
        """Whether node states were heard that `read_states` has not read."""
        return self._unread is not None

    def read_states(self) -> list[PromptEvent]:
        """Read the latest node states that were heard. They hold all nodes that have begun: reading them now and then
        loses nothing, and reading every one of them costs the square of the graph's size."""
        unread, self._unread = self._unread, None
        if unread is None or self.ended:
            return []
        self._progress_state(unread)
        return self._progress()

    def on_messages_missed(self) -> None:
        """The socket broke, or was opened again: from now on only the history is believed."""
        self._missed = True

    def on_message(self, message: Message | PreviewFrame) -> list[PromptEvent]:
        """Take a socket message; messages of other prompts and those after the end do nothing. Node states are only
        kept, for `read_states`."""
        if self.ended or not self._concerns_us(message):
            return []
        events: list[PromptEvent] = []
        if self._phase == "queued":
            self._phase = "running"
            events.append(RunStarted())
        match message:
            case Started(at_ms=at_ms):
                self._began_ms = at_ms
            case Cached(nodes=nodes):
                for node in nodes:
                    self._book.mark(node, "cached", 1.0, 1.0)
            case Executing():
                events += self._executing(message)
            case Step():
                self._step(message)
            case ProgressState():
                self._states_seen = True
                self._unread, self._current_is_newer = message, False
            case Executed():
                events.append(self._executed(message))
            case FilesWritten(files=files):
                self._written = files
            case Ending(kind=kind):
                self._succeeded_by_message = kind == "success"
                events.append(PollNow(written=False))
            case PreviewFrame():
                node = message.node or self._book.current
                if node is not None:
                    events.append(Previewed(node, message.content_type, message.image))
        return events + self._progress()

    def on_history_status(self, status: HistoryStatus) -> list[PromptEvent]:
        """Take what a look showed."""
        if self.ended:
            return []
        self._times_gone = self._times_gone + 1 if isinstance(status, Missing) else 0
        self._times_unreadable = self._times_unreadable + 1 if isinstance(status, Unreadable) else 0
        match status:
            case Pending(running=running):
                if running and self._phase == "queued":
                    self._phase = "running"
                    return [RunStarted()]
                return []
            case Missing():
                if self._times_gone < POLLS_BEFORE_LOST:
                    return [PollNow(written=False)]
                return self._end(RunEnded(JobError("comfyui_unavailable", "ComfyUI lost the run: it was restarted.")))
            case Unreadable():
                if self._times_unreadable < POLLS_BEFORE_UNREADABLE:
                    return [PollNow(written=False)]
                return self._end(RunEnded(JobError("execution_error", UNREADABLE)))
            case Failed(error=error, interrupted=interrupted):
                return self._end(RunEnded(error, interrupted=interrupted))
            case Succeeded():
                return self._succeeded(status)

    def fail(self, error: JobError) -> list[PromptEvent]:
        """End the run from outside: ComfyUI is dead, hung or out of reach."""
        return [] if self.ended else self._end(RunEnded(error))

    def _concerns_us(self, message: Message | PreviewFrame) -> bool:
        if message.prompt_id is not None:
            return message.prompt_id == self._prompt_id
        # Messages sent again on reconnect, and old previews, have no id: they belong to the prompt that runs, which is
        # ours once it began.
        return self._phase == "running"

    def _executing(self, message: Executing) -> list[PromptEvent]:
        if message.node is None:
            return self._end_of_messages()
        self._listed_last.clear()
        node = self._graph_node(message.node, message.display_node or message.node)
        if not self._states_seen:
            # Versions without progress_state: a node has finished when the next one begins.
            before = self._book.current
            if before is not None and before != node:
                self._book.mark(before, "finished", 1.0, 1.0)
            self._book.mark(node, "running")
        self._book.run(node)
        self._current_is_newer = True
        return []

    def _executed(self, message: Executed) -> NodeOutput:
        node = self._graph_node(message.node, message.display_node)
        if message.node in self._listed:
            # It listed outputs before and went on running, so an earlier file may have changed.
            self._listed_last.discard(node)
        else:
            self._listed_last.add(node)
        self._listed[message.node] = message.output
        self._shown_as[message.node] = message.display_node
        return NodeOutput(node, message.output)

    def _end_of_messages(self) -> list[PromptEvent]:
        """ComfyUI sends nothing more of the prompt, and its history has the run."""
        is_complete = self._succeeded_by_message and self._began_ms is not None and not self._missed
        if not is_complete or (self._reports_files and self._written is None):
            return [PollNow(written=True)]
        complete = Succeeded(self._listed, self._shown_as, self._written or (), self._began_ms)
        return self._succeeded(complete, frozenset(self._listed_last))

    def _step(self, message: Step) -> None:
        node = message.node or self._book.current
        if node is not None and not self._states_seen:
            self._book.mark(node, "running", message.value, message.max)

    def _progress_state(self, message: ProgressState) -> None:
        for state in message.nodes:
            self._book.mark(state.node, state.phase, state.value, state.max)
            if state.phase == "running" and not self._current_is_newer:
                self._book.run(self._graph_node(state.node, state.display_node))

    def _graph_node(self, node: str, shown_as: str) -> str:
        """Nodes made by expansion carry ids the client never saw; they are reported as the node they stand for."""
        return node if node in self._classes else shown_as

    def _succeeded(self, status: Succeeded, listed_last: frozenset[str] = frozenset()) -> list[PromptEvent]:
        outputs = tuple(
            (self._graph_node(node, status.shown_as.get(node, node)), output) for node, output in status.outputs.items()
        )
        states = self.read_states()
        self._book.finish()
        ended = RunEnded(None, outputs, listed_last=listed_last, written=status.written, began_ms=status.began_ms)
        return [*states, *self._progress(), *self._end(ended)]

    def _progress(self) -> list[PromptEvent]:
        progress = self._book.take()
        return [Progressed(progress)] if progress is not None else []

    def _end(self, ended: RunEnded) -> list[PromptEvent]:
        states = self.read_states()
        self._phase = "ended"
        return [*states, ended]
