"""Follows one prompt to its end: when to hear, when to look, when to give up. The clockwork around comfy/run.py."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.comfy.messages import WrittenFile
from worker_gpu.comfy.progress import Progress
from worker_gpu.comfy.run import (
    Happening,
    LookNow,
    NodeShowed,
    Previewed,
    Progressed,
    PromptRun,
    RunEnded,
    RunStarted,
)
from worker_gpu.comfy.socket import ComfySocket, Heard, Inbox, SocketDown, SocketUp
from worker_gpu.errors import JobError, NodeRef
from worker_gpu.log import Log
from worker_gpu.patience import Patience
from worker_gpu.shape import JsonObject

Listed: TypeAlias = tuple[tuple[str, JsonObject], ...]
"""What each node listed, by node of the graph."""


@dataclass(frozen=True)
class Results:
    """What a run gave: what its nodes listed, and the files that the worker's package inside ComfyUI saw written.
    `began_ms` is when it began, by ComfyUI's clock. `heard_all`: the socket was up all the while. `listed_last`: the
    nodes after whose listing no node ran."""

    listed: Listed
    written: tuple[WrittenFile, ...] = ()
    began_ms: int | None = None
    heard_all: bool = True
    listed_last: frozenset[str] = frozenset()


class Listener(Protocol):
    """Who wants to know how the run goes."""

    def started(self) -> None:
        """ComfyUI took the prompt from its queue."""
        ...

    def progressed(self, progress: Progress) -> None:
        """Progress over the graph changed."""
        ...

    def showed(self, node: str, output: JsonObject) -> None:
        """A node of the graph listed outputs; the files are complete."""
        ...

    def previewed(self, node: str, content_type: str, image: bytes) -> None:
        """A picture of a node at work."""
        ...


class Following:
    """The clockwork around one run: when to look, when to give up."""

    def __init__(
        self,
        client: ComfyClient,
        socket: ComfySocket,
        patience: Patience,
        now: Callable[[], float],
        log: Log,
        prompt_id: str,
        classes: Mapping[str, str],
        listener: Listener,
        silence_s: float,
        at_once: bool,
        reports_files: bool,
    ) -> None:
        self._at_once = at_once
        self._client = client
        self._socket = socket
        self._patience = patience
        self._now = now
        self._log = log
        self._run = PromptRun(prompt_id, classes, reports_files)
        self._prompt_id = prompt_id
        self._listener = listener
        self._silence_s = silence_s
        self._heard_at = now()
        self._next_look = self._heard_at + patience.look_quiet_s
        self._look_gap = patience.look_first_s
        self._next_states = self._heard_at
        self._unanswered_since: float | None = None
        self._refused_since: float | None = None
        self._ending = False
        self._ended: RunEnded | None = None

    async def to_the_end(self, inbox: Inbox, exit_watch: "asyncio.Task[None]") -> Results:
        """Hear and look until the run is over. Raises `JobError`."""
        while self._ended is None:
            hearing = asyncio.ensure_future(inbox.get())
            try:
                await asyncio.wait(
                    {hearing, exit_watch}, timeout=self._time_to_next(), return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                if not hearing.done():
                    hearing.cancel()
            if hearing.done() and not hearing.cancelled():
                self._hear(hearing.result())
            for _ in range(inbox.qsize()):
                self._hear(inbox.get_nowait())
            if self._run.has_unread_states and self._now() >= self._next_states:
                self._take(self._run.read_states())
                self._next_states = self._now() + self._patience.states_gap_s
            if exit_watch.done():
                self._take(self._run.give_up(JobError("comfyui_unavailable", "ComfyUI died while it ran the job.")))
            elif self._ended is None and self._now() >= self._next_look:
                await self._look()
        if self._ended.error is not None:
            raise self._ended.error
        ended = self._ended
        return Results(ended.outputs, ended.written, ended.began_ms, self._run.heard_all, ended.listed_last)

    def _hear(self, heard: Heard) -> None:
        now = self._now()
        if isinstance(heard, SocketUp | SocketDown):
            self._run.miss_messages()
        if isinstance(heard, SocketUp):
            self._heard_at = now
            self._next_look = now
        elif isinstance(heard, SocketDown):
            self._next_look = now
        else:
            self._heard_at = now
            if not self._ending:
                self._next_look = now + self._patience.look_quiet_s
            self._take(self._run.hear(heard))

    async def _look(self) -> None:
        try:
            happenings = self._run.see(await self._client.look(self._prompt_id))
        except ComfyUnreachable as error:
            self._unreachable(error)
            return
        self._unanswered_since = self._refused_since = None
        now = self._now()
        if self._run.queued:
            self._heard_at = now
        silent = now - self._heard_at
        if not happenings and 0 < self._silence_s <= silent and self._socket.is_up:
            text = f"ComfyUI said nothing for {int(silent)} seconds while it ran the graph."
            happenings = self._run.give_up(self._hung(text, self._run.current))
        if self._ending:
            self._look_soon(now)
        else:
            self._next_look = now + self._patience.look_quiet_s
        self._take(happenings)

    def _unreachable(self, error: ComfyUnreachable) -> None:
        now = self._now()
        if self._unanswered_since is None:
            self._unanswered_since = now
            self._log.warn("comfyui does not answer", cause=str(error))
        if not error.refused:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        gone = self._refused_since is not None and now - self._refused_since >= self._patience.refused_s
        if gone or now - self._unanswered_since >= self._patience.unreachable_s:
            self._take(self._run.give_up(self._unanswering(error)))
        self._next_look = now + self._patience.look_most_s

    def _unanswering(self, error: ComfyUnreachable) -> JobError:
        """A node may hold Python's interpreter: its process takes calls and answers none, and the start of the graph is
        never told."""
        if not error.undecided or (self._run.queued and not self._at_once):
            return JobError("comfyui_unavailable", "ComfyUI no longer answers.")
        last = self._run.current
        known = f" The last node it reported was {last.id} ({last.class_type})." if last is not None else ""
        return self._hung(f"ComfyUI stopped answering while it ran the graph: a node is stuck.{known}", None)

    def _hung(self, text: str, node: NodeRef | None) -> JobError:
        """The graph's own failure: it would hang the next ComfyUI too, on a GPU that nobody pays for."""
        return JobError("execution_error", text, node=node, comfy_lost=True)

    def _take(self, happenings: list[Happening]) -> None:
        now = self._now()
        for happening in happenings:
            match happening:
                case RunStarted():
                    self._listener.started()
                case Progressed(progress=progress):
                    self._listener.progressed(progress)
                case NodeShowed(node=node, output=output):
                    self._listener.showed(node, output)
                case Previewed(node=node, content_type=content_type, image=image):
                    self._listener.previewed(node, content_type, image)
                case LookNow(written=written):
                    self._ending = True
                    if written:
                        self._next_look = now
                    else:
                        self._look_soon(now)
                case RunEnded():
                    self._ended = happening

    def _look_soon(self, now: float) -> None:
        """The end is announced before the history has it: look again and again, less and less often."""
        self._next_look = now + self._look_gap
        self._look_gap = min(self._patience.look_most_s, self._look_gap * 2)

    def _time_to_next(self) -> float:
        due = min(self._next_look, self._next_states) if self._run.has_unread_states else self._next_look
        return max(0.0, due - self._now())
