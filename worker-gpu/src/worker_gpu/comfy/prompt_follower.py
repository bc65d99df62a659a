"""Follows one prompt to its end: reads the socket, polls the history, and notices a ComfyUI that is gone or stuck.

The rules are in comfy/prompt_state.py, which is pure; here are the clock and the I/O around them.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.comfy.messages import WrittenFile
from worker_gpu.comfy.prompt_state import (
    NodeOutput,
    PollNow,
    Previewed,
    Progressed,
    PromptEvent,
    PromptState,
    RunEnded,
    RunStarted,
)
from worker_gpu.comfy.socket import ComfySocket, Inbox, SocketDown, SocketEvent, SocketUp
from worker_gpu.errors import JobError, NodeRef
from worker_gpu.json_readers import JsonObject
from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts

FollowedEvent: TypeAlias = RunStarted | Progressed | NodeOutput | Previewed
"""What the reader of a prompt's events gets."""
Listed: TypeAlias = tuple[tuple[str, JsonObject], ...]
"""What each node listed, by node of the graph."""


@dataclass(frozen=True)
class Results:
    """What a prompt gave: what its nodes listed, and the files that the worker's package inside ComfyUI saw written.
    `began_ms` is when it began, by ComfyUI's clock. `heard_all`: the socket was up all the while. `listed_last`: the
    nodes after whose listing no node ran."""

    listed: Listed
    written: tuple[WrittenFile, ...] = ()
    began_ms: int | None = None
    saw_all_messages: bool = True
    listed_last: frozenset[str] = frozenset()


class PromptFollower:
    """Follows one prompt: read `events` to their end, then `results`. `silence_s`: without a message of the prompt for
    this long on an open socket it counts as hung (0: never). `at_once`: no other prompt runs before it.
    `reports_files`: the worker's package inside ComfyUI says what the prompt wrote."""

    def __init__(
        self,
        client: ComfyClient,
        socket: ComfySocket,
        timeouts: Timeouts,
        now: Callable[[], float],
        log: Log,
        prompt_id: str,
        classes: Mapping[str, str],
        silence_s: float,
        at_once: bool,
        reports_files: bool,
        wait_exit: Callable[[], Awaitable[None]],
    ) -> None:
        self._at_once = at_once
        self._client = client
        self._socket = socket
        self._timeouts = timeouts
        self._now = now
        self._log = log
        self._run = PromptState(prompt_id, classes, reports_files)
        self._prompt_id = prompt_id
        self._wait_exit = wait_exit
        self._unread: deque[FollowedEvent] = deque()
        self._silence_s = silence_s
        self._last_message_at = now()
        self._next_poll = self._last_message_at + timeouts.poll_quiet_s
        self._poll_gap = timeouts.poll_first_s
        self._next_states = self._last_message_at
        self._unanswered_since: float | None = None
        self._refused_since: float | None = None
        self._ending = False
        self._ended: RunEnded | None = None

    @property
    def results(self) -> Results:
        """What the prompt gave, once `events` has ended without an error."""
        ended = self._ended
        if ended is None:
            raise RuntimeError("the prompt has not ended")
        return Results(ended.outputs, ended.written, ended.began_ms, self._run.saw_all_messages, ended.listed_last)

    async def events(self, inbox: Inbox) -> AsyncGenerator[FollowedEvent]:
        """The events of the prompt until it has ended. Raises `JobError`. Close it if it is not read to its end."""
        exit_watch = asyncio.ensure_future(self._wait_exit())
        try:
            while self._ended is None:
                await self._wait_news(inbox, exit_watch)
                if self._run.has_unread_states and self._now() >= self._next_states:
                    self._take(self._run.read_states())
                    self._next_states = self._now() + self._timeouts.states_gap_s
                if exit_watch.done():
                    self._take(self._run.fail(JobError("comfyui_unavailable", "ComfyUI died while it ran the job.")))
                elif self._ended is None and self._now() >= self._next_poll:
                    await self._poll()
                while self._unread:
                    yield self._unread.popleft()
        finally:
            exit_watch.cancel()
        if self._ended.error is not None:
            raise self._ended.error

    async def _wait_news(self, inbox: Inbox, exit_watch: "asyncio.Future[None]") -> None:
        """Wait for a message, ComfyUI's exit, or the time of the next poll; take all messages that are there."""
        message = asyncio.ensure_future(inbox.get())
        try:
            await asyncio.wait({message, exit_watch}, timeout=self._time_to_next(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not message.done():
                message.cancel()
        if message.done() and not message.cancelled():
            self._on_socket_event(message.result())
        for _ in range(inbox.qsize()):
            self._on_socket_event(inbox.get_nowait())

    def _on_socket_event(self, event: SocketEvent) -> None:
        now = self._now()
        if isinstance(event, SocketUp | SocketDown):
            self._run.on_messages_missed()
        if isinstance(event, SocketUp):
            self._last_message_at = now
            self._next_poll = now
        elif isinstance(event, SocketDown):
            self._next_poll = now
        else:
            self._last_message_at = now
            if not self._ending:
                self._next_poll = now + self._timeouts.poll_quiet_s
            self._take(self._run.on_message(event))

    async def _poll(self) -> None:
        try:
            events = self._run.on_history_status(await self._client.history_status(self._prompt_id))
        except ComfyUnreachable as error:
            self._unreachable(error)
            return
        self._unanswered_since = self._refused_since = None
        now = self._now()
        if self._run.queued:
            self._last_message_at = now
        silent = now - self._last_message_at
        if not events and 0 < self._silence_s <= silent and self._socket.is_up:
            text = f"ComfyUI said nothing for {int(silent)} seconds while it ran the graph."
            events = self._run.fail(self._hung(text, self._run.current))
        if self._ending:
            self._poll_soon(now)
        else:
            self._next_poll = now + self._timeouts.poll_quiet_s
        self._take(events)

    def _unreachable(self, error: ComfyUnreachable) -> None:
        now = self._now()
        if self._unanswered_since is None:
            self._unanswered_since = now
            self._log.warn("comfyui does not answer", cause=str(error))
        if not error.refused:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        gone = self._refused_since is not None and now - self._refused_since >= self._timeouts.refused_s
        if gone or now - self._unanswered_since >= self._timeouts.unreachable_s:
            self._take(self._run.fail(self._unanswering(error)))
        self._next_poll = now + self._timeouts.poll_max_s

    def _unanswering(self, error: ComfyUnreachable) -> JobError:
        """A node may hold the GIL: then the process accepts calls but answers none, and no message says that the graph
        started."""
        if not error.undecided or (self._run.queued and not self._at_once):
            return JobError("comfyui_unavailable", "ComfyUI no longer answers.")
        last = self._run.current
        known = f" The last node it reported was {last.id} ({last.class_type})." if last is not None else ""
        return self._hung(f"ComfyUI stopped answering while it ran the graph: a node is stuck.{known}", None)

    def _hung(self, text: str, node: NodeRef | None) -> JobError:
        """A failure of the graph itself: a retry would hang the next ComfyUI too, in time that is not billed."""
        return JobError("execution_error", text, node=node, comfy_lost=True)

    def _take(self, events: list[PromptEvent]) -> None:
        now = self._now()
        for event in events:
            match event:
                case RunStarted() | Progressed() | NodeOutput() | Previewed():
                    self._unread.append(event)
                case PollNow(written=written):
                    self._ending = True
                    if written:
                        self._next_poll = now
                    else:
                        self._poll_soon(now)
                case RunEnded():
                    self._ended = event

    def _poll_soon(self, now: float) -> None:
        """The end is announced before the history has it: poll again, with growing gaps."""
        self._next_poll = now + self._poll_gap
        self._poll_gap = min(self._timeouts.poll_max_s, self._poll_gap * 2)

    def _time_to_next(self) -> float:
        due = min(self._next_poll, self._next_states) if self._run.has_unread_states else self._next_poll
        return max(0.0, due - self._now())
