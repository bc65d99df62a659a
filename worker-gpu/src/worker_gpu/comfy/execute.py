"""Runs one prompt: posts it, follows it over socket and history, stops it."""

import asyncio
import contextlib
from collections.abc import Callable, Generator, Mapping
from typing import Protocol, TypeAlias

from worker_gpu.comfy.client import ComfyClient, ComfyUnreachable, Prompt
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
from worker_gpu.comfy.sight import Gone
from worker_gpu.comfy.socket import ComfySocket, Heard, Inbox, SocketDown, SocketUp
from worker_gpu.errors import JobError
from worker_gpu.log import Log
from worker_gpu.patience import Patience
from worker_gpu.shape import JsonObject

Listed: TypeAlias = tuple[tuple[str, JsonObject], ...]
"""What each node listed, by node of the graph."""


class Engine(Protocol):
    """The ComfyUI behind the URL: a child of the worker, or somebody else's."""

    async def wait_exit(self) -> None:
        """Return when the child has exited; never, where there is no child."""
        ...

    async def restart(self) -> bool:
        """End the child, whatever it does, and start a new one; False where there is no child."""
        ...


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


class Executor:
    """Runs prompts on one ComfyUI, one at a time; keeps nothing of a run."""

    def __init__(
        self,
        client: ComfyClient,
        socket: ComfySocket,
        engine: Engine,
        patience: Patience,
        now: Callable[[], float],
        log: Log,
    ) -> None:
        self._client = client
        self._socket = socket
        self._engine = engine
        self._patience = patience
        self._now = now
        self._log = log

    @contextlib.contextmanager
    def open(self) -> Generator[Inbox]:
        """Hear the socket from now on: open before `submit`, so that nothing is missed."""
        with self._socket.listen() as inbox:
            yield inbox

    async def submit(self, prompt: Prompt) -> None:
        """Queue `prompt`. Raises `JobError` `invalid_workflow`, `model_missing`, `comfyui_unavailable`."""
        if not self._socket.is_up:
            await self._socket.wait_up(self._patience.comfy_connect_s)
        try:
            await self._client.submit(prompt, self._socket.client_id)
        except ComfyUnreachable as first:
            # The answer was lost, perhaps not the prompt: only one that is nowhere, and cannot come, is posted again.
            self._log.warn("prompt unanswered", cause=str(first))
            if first.undecided:
                raise JobError("comfyui_unavailable", "ComfyUI does not answer.") from first
            try:
                if isinstance(await self._client.look(prompt.prompt_id), Gone):
                    await self._client.submit(prompt, self._socket.client_id)
            except ComfyUnreachable as error:
                raise JobError("comfyui_unavailable", "ComfyUI does not answer.") from error

    async def follow(
        self, prompt_id: str, classes: Mapping[str, str], inbox: Inbox, listener: Listener, silence_s: float
    ) -> Listed:
        """Follow a queued prompt to its end; gives what its nodes listed. `silence_s`: without a message of the prompt
        for this long on an open socket it counts as hung (0: never). Raises `JobError`."""
        following = _Following(self, PromptRun(prompt_id, classes), prompt_id, inbox, listener, silence_s)
        exit_watch = asyncio.create_task(self._engine.wait_exit())
        try:
            return await following.to_the_end(exit_watch)
        finally:
            exit_watch.cancel()

    async def stop(self, prompt_id: str) -> bool:
        """Take the prompt off ComfyUI and wait until it is; restart a ComfyUI of ours that does not let go of it.
        False when it may still run."""
        give_up = self._now() + self._patience.cancel_s
        asked = False
        while self._now() < give_up:
            try:
                if not asked:
                    await self._client.cancel(prompt_id)
                    asked = True
                if isinstance(await self._client.queued(prompt_id), Gone):
                    return True
            except ComfyUnreachable as error:
                self._log.warn("cancel unanswered", cause=str(error))
            await asyncio.sleep(self._patience.cancel_look_s)
        self._log.error("prompt does not stop", seconds=self._patience.cancel_s)
        return await self._engine.restart()

    @property
    def patience(self) -> Patience:
        """The waiting times in force."""
        return self._patience

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return self._now()

    @property
    def socket_is_up(self) -> bool:
        """Whether silence means anything."""
        return self._socket.is_up

    def warn_unanswered(self, cause: str) -> None:
        """Note that a look got no answer."""
        self._log.warn("comfyui does not answer", cause=cause)

    async def look(self, run: PromptRun, prompt_id: str) -> list[Happening]:
        """Look at the history. Raises `ComfyUnreachable`."""
        return run.see(await self._client.look(prompt_id))


class _Following:
    """The clockwork around one run: when to look, when to give up."""

    def __init__(
        self, executor: Executor, run: PromptRun, prompt_id: str, inbox: Inbox, listener: Listener, silence_s: float
    ) -> None:
        self._executor = executor
        self._patience = executor.patience
        self._run = run
        self._prompt_id = prompt_id
        self._inbox = inbox
        self._listener = listener
        self._silence_s = silence_s
        now = executor.now()
        self._heard_at = now
        self._next_look = now + self._patience.look_quiet_s
        self._look_gap = self._patience.look_first_s
        self._unanswered_since: float | None = None
        self._ending = False
        self._ended: RunEnded | None = None

    async def to_the_end(self, exit_watch: "asyncio.Task[None]") -> Listed:
        """Hear and look until the run is over. Raises `JobError`."""
        while self._ended is None:
            hearing = asyncio.ensure_future(self._inbox.get())
            try:
                await asyncio.wait(
                    {hearing, exit_watch}, timeout=self._time_to_next(), return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                if not hearing.done():
                    hearing.cancel()
            if hearing.done() and not hearing.cancelled():
                self._hear(hearing.result())
            if exit_watch.done():
                self._take(self._run.give_up(JobError("comfyui_unavailable", "ComfyUI died while it ran the job.")))
            elif self._ended is None and self._executor.now() >= self._next_look:
                await self._look()
        if self._ended.error is not None:
            raise self._ended.error
        return self._ended.outputs

    def _hear(self, heard: Heard) -> None:
        now = self._executor.now()
        if isinstance(heard, SocketUp):
            self._heard_at = now
            self._next_look = now
        elif not isinstance(heard, SocketDown):
            self._heard_at = now
            if not self._ending:
                self._next_look = now + self._patience.look_quiet_s
            self._take(self._run.hear(heard))

    async def _look(self) -> None:
        try:
            happenings = await self._executor.look(self._run, self._prompt_id)
        except ComfyUnreachable as error:
            self._unreachable(str(error))
            return
        self._unanswered_since = None
        now = self._executor.now()
        if self._run.queued:
            self._heard_at = now
        silent = now - self._heard_at
        if not happenings and 0 < self._silence_s <= silent and self._executor.socket_is_up:
            text = f"ComfyUI said nothing for {int(silent)} seconds."
            happenings = self._run.give_up(JobError("comfyui_unavailable", text))
        if self._ending:
            self._look_soon(now)
        else:
            self._next_look = now + self._patience.look_quiet_s
        self._take(happenings)

    def _unreachable(self, cause: str) -> None:
        now = self._executor.now()
        if self._unanswered_since is None:
            self._unanswered_since = now
            self._executor.warn_unanswered(cause)
        if now - self._unanswered_since >= self._patience.unreachable_s:
            self._take(self._run.give_up(JobError("comfyui_unavailable", "ComfyUI no longer answers.")))
        self._next_look = now + self._patience.look_most_s

    def _take(self, happenings: list[Happening]) -> None:
        now = self._executor.now()
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
        return max(0.0, self._next_look - self._executor.now())
