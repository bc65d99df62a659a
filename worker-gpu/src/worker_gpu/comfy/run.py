"""One prompt's state machine. Socket messages and looks at the history go in, happenings come out; no I/O, no clock.

The socket moves progress and outputs; only a look decides the end, since the socket can miss it and never repeats it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from worker_gpu.comfy.frames import PreviewFrame
from worker_gpu.comfy.messages import Cached, Ending, Executed, Executing, Message, ProgressState, Started, Step
from worker_gpu.comfy.progress import Progress, ProgressBook
from worker_gpu.comfy.sight import Broken, Gone, Sight, Succeeded, Unreadable, Waiting, WrittenFile
from worker_gpu.errors import JobError, NodeRef
from worker_gpu.shape import JsonObject

LOOKS_BEFORE_LOST = 2
"""A prompt that two looks in a row find nowhere is lost: ComfyUI was restarted or its queue cleared."""
LOOKS_BEFORE_UNREADABLE = 5
"""A history that so many looks in a row, each later than the one before, find broken stays so."""

UNREADABLE = "ComfyUI cannot tell what the graph gave: most likely a node listed an output that is no JSON."


@dataclass(frozen=True)
class RunStarted:
    """ComfyUI took the prompt from its queue."""


@dataclass(frozen=True)
class Progressed:
    """Progress over the graph changed."""

    progress: Progress


@dataclass(frozen=True)
class NodeShowed:
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
class LookNow:
    """The end is announced: look at the history, which has it already when `written`."""

    written: bool


@dataclass(frozen=True)
class RunEnded:
    """The prompt is over. `outputs` are all that were listed, by node of the graph."""

    error: JobError | None
    outputs: tuple[tuple[str, JsonObject], ...] = ()
    interrupted: bool = False
    took_ms: int | None = None
    written: tuple[WrittenFile, ...] = ()
    began_ms: int | None = None


Happening: TypeAlias = RunStarted | Progressed | NodeShowed | Previewed | LookNow | RunEnded


class PromptRun:
    """The run of the prompt `prompt_id` whose nodes have the classes `classes`."""

    def __init__(self, prompt_id: str, classes: Mapping[str, str]) -> None:
        self._prompt_id = prompt_id
        self._classes = classes
        self._book = ProgressBook(classes)
        self._phase: Literal["queued", "running", "ended"] = "queued"
        self._states_seen = False
        self._unread: ProgressState | None = None
        self._current_is_newer = False
        self._times_gone = 0
        self._times_unreadable = 0

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

    def read_states(self) -> list[Happening]:
        """Read the latest node states that were heard. They hold all nodes that have begun: reading them now and then
        loses nothing, and reading every one of them costs the square of the graph's size."""
        unread, self._unread = self._unread, None
        if unread is None or self.ended:
            return []
        self._progress_state(unread)
        return self._progress()

    def hear(self, message: Message | PreviewFrame) -> list[Happening]:
        """Take a socket message; messages of other prompts and those after the end do nothing. Node states are only
        kept, for `read_states`."""
        if self.ended or not self._concerns_us(message):
            return []
        happenings: list[Happening] = []
        if self._phase == "queued":
            self._phase = "running"
            happenings.append(RunStarted())
        match message:
            case Started():
                pass
            case Cached(nodes=nodes):
                for node in nodes:
                    self._book.mark(node, "cached", 1.0, 1.0)
            case Executing():
                happenings += self._executing(message)
            case Step():
                self._step(message)
            case ProgressState():
                self._states_seen = True
                self._unread, self._current_is_newer = message, False
            case Executed():
                happenings.append(NodeShowed(self._graph_node(message.node, message.display_node), message.output))
            case Ending():
                happenings.append(LookNow(written=False))
            case PreviewFrame():
                node = message.node or self._book.current
                if node is not None:
                    happenings.append(Previewed(node, message.content_type, message.image))
        return happenings + self._progress()

    def see(self, sight: Sight) -> list[Happening]:
        """Take what a look showed."""
        if self.ended:
            return []
        self._times_gone = self._times_gone + 1 if isinstance(sight, Gone) else 0
        self._times_unreadable = self._times_unreadable + 1 if isinstance(sight, Unreadable) else 0
        match sight:
            case Waiting(running=running):
                if running and self._phase == "queued":
                    self._phase = "running"
                    return [RunStarted()]
                return []
            case Gone():
                if self._times_gone < LOOKS_BEFORE_LOST:
                    return [LookNow(written=False)]
                return self._end(RunEnded(JobError("comfyui_unavailable", "ComfyUI lost the run: it was restarted.")))
            case Unreadable():
                if self._times_unreadable < LOOKS_BEFORE_UNREADABLE:
                    return [LookNow(written=False)]
                return self._end(RunEnded(JobError("execution_error", UNREADABLE)))
            case Broken(error=error, interrupted=interrupted):
                return self._end(RunEnded(error, interrupted=interrupted))
            case Succeeded():
                return self._succeeded(sight)

    def give_up(self, error: JobError) -> list[Happening]:
        """End the run from outside: ComfyUI is dead, hung or out of reach."""
        return [] if self.ended else self._end(RunEnded(error))

    def _concerns_us(self, message: Message | PreviewFrame) -> bool:
        if message.prompt_id is not None:
            return message.prompt_id == self._prompt_id
        # Sent again on reconnect without an id, and old previews: they mean whatever runs, which is ours once it began.
        return self._phase == "running"

    def _executing(self, message: Executing) -> list[Happening]:
        if message.node is None:
            return [LookNow(written=True)]
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
        """Nodes made by expansion carry ids the client never saw; they are told by the node they stand for."""
        return node if node in self._classes else shown_as

    def _succeeded(self, sight: Succeeded) -> list[Happening]:
        outputs = tuple(
            (self._graph_node(node, sight.shown_as.get(node, node)), output) for node, output in sight.outputs.items()
        )
        states = self.read_states()
        self._book.finish()
        ended = RunEnded(None, outputs, took_ms=sight.took_ms, written=sight.written, began_ms=sight.began_ms)
        return [*states, *self._progress(), *self._end(ended)]

    def _progress(self) -> list[Happening]:
        progress = self._book.take()
        return [Progressed(progress)] if progress is not None else []

    def _end(self, ended: RunEnded) -> list[Happening]:
        states = self.read_states()
        self._phase = "ended"
        return [*states, ended]
