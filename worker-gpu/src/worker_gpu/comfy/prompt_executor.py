"""Runs one prompt: posts it, follows it over socket and history, stops it."""

import asyncio
import contextlib
from collections.abc import Callable, Generator, Mapping
from typing import Protocol

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient, Prompt
from worker_gpu.comfy.history_status import Missing
from worker_gpu.comfy.prompt_follower import PromptFollower
from worker_gpu.comfy.socket import ComfySocket, Inbox
from worker_gpu.errors import JobError
from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts


class Engine(Protocol):
    """The ComfyUI behind the URL: a child of the worker, or somebody else's. `runs_alone`: nobody but this worker posts
    prompts to it."""

    runs_alone: bool

    async def wait_exit(self) -> None:
        """Return when the child has exited. Without a child, never return."""
        ...

    async def kill(self) -> bool:
        """Kill the child. Returns False without a child."""
        ...


class Executor:
    """Runs prompts on one ComfyUI, one at a time; keeps nothing of a run."""

    def __init__(
        self,
        client: ComfyClient,
        socket: ComfySocket,
        engine: Engine,
        timeouts: Timeouts,
        now: Callable[[], float],
        log: Log,
    ) -> None:
        self._client = client
        self._socket = socket
        self._engine = engine
        self._timeouts = timeouts
        self._now = now
        self._log = log
        self.at_once = False
        """Whether the prompt of the run that was opened last is executed at once: no other one is before it."""

    @contextlib.contextmanager
    def open(self) -> Generator[Inbox]:
        """Hear the socket from now on: open before `submit`, so that nothing is missed."""
        self.at_once = self._engine.runs_alone or self._socket.is_idle
        with self._socket.listen() as inbox:
            yield inbox

    async def submit(self, prompt: Prompt) -> JobError | None:
        """Queue `prompt`. Gives the refusal where ComfyUI refused a part of it and runs the rest. Raises `JobError`
        `invalid_workflow`, `model_missing`, `comfyui_unavailable`."""
        if not self._socket.is_up:
            await self._socket.wait_up(self._timeouts.comfy_connect_s)
        try:
            return await self._client.submit(prompt, self._socket.client_id)
        except ComfyUnreachable as first:
            # The response was lost, but ComfyUI may have the prompt. It is posted again only if it surely does not.
            self._log.warn("prompt unanswered", cause=str(first))
            if first.undecided:
                raise JobError("comfyui_unavailable", "ComfyUI does not answer.") from first
            try:
                if isinstance(await self._client.history_status(prompt.prompt_id), Missing):
                    return await self._client.submit(prompt, self._socket.client_id)
            except ComfyUnreachable as error:
                raise JobError("comfyui_unavailable", "ComfyUI does not answer.") from error
            return None

    def follow(
        self, prompt_id: str, classes: Mapping[str, str], silence_s: float, *, reports_files: bool
    ) -> PromptFollower:
        """A follower of a queued prompt; see there."""
        return PromptFollower(
            self._client,
            self._socket,
            self._timeouts,
            self._now,
            self._log,
            prompt_id,
            classes,
            silence_s,
            self.at_once,
            reports_files,
            self._engine.wait_exit,
        )

    async def stop(self, prompt_id: str, submitting: "asyncio.Task[object] | None" = None) -> bool:
        """Take the prompt off ComfyUI, once `submitting` has ended, and wait until it is gone. A ComfyUI of ours that
        does not stop it within `cancel_s`, or does not answer in that time, is killed. False when it may still
        run."""
        asked = False
        try:
            async with asyncio.timeout(self._timeouts.cancel_s) as limit:
                if submitting is not None:
                    await asyncio.wait({submitting})
                # Looked at besides: a call that runs into its own limit at that moment takes the cancellation for it.
                while not limit.expired():
                    try:
                        if not asked:
                            await self._client.cancel(prompt_id)
                            asked = True
                        if isinstance(await self._client.queued(prompt_id), Missing):
                            return True
                    except ComfyUnreachable as error:
                        self._log.warn("cancel unanswered", cause=str(error))
                    await asyncio.sleep(self._timeouts.cancel_poll_s)
        except TimeoutError:
            pass
        self._log.error("prompt does not stop", seconds=self._timeouts.cancel_s)
        if await self._engine.kill():
            if submitting is not None:
                submitting.cancel()  # or it would post the prompt to the ComfyUI that is started next
            return True
        return False if asked else await self._ask_late(prompt_id, submitting)

    async def _ask_late(self, prompt_id: str, submitting: "asyncio.Task[object] | None") -> bool:
        """Cancel at an external ComfyUI that did not answer in time: it cannot be killed, so wait longer."""
        if submitting is not None:
            await asyncio.wait({submitting}, timeout=self._timeouts.comfy_call_s)
        try:
            await self._client.cancel(prompt_id)
            return isinstance(await self._client.queued(prompt_id), Missing)
        except ComfyUnreachable as error:
            self._log.warn("cancel unanswered", cause=str(error))
            return False
