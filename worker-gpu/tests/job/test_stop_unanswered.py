"""Stopping where ComfyUI does not answer or let go, or the gateway does not: bounded, and with nothing left running."""

import asyncio
import dataclasses
import io
import re
import time
from pathlib import Path

import pytest

from fakes.comfy import FakeComfy, Prompt, holding
from fakes.harness import JOB, QUICK, Harness, job_harness
from fakes.killable import KillableComfy, mortal_of
from job.test_stop import GRAPH, started
from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.comfy.prompt_executor import Executor
from worker_gpu.comfy.socket import ComfySocket
from worker_gpu.json_readers import JsonObject
from worker_gpu.lifecycle.comfyui import ExternalComfy
from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts
from worker_gpu.wire.contract import Receipt

pytestmark = pytest.mark.asyncio

PART_REFUSED: JsonObject = {
    "node_errors": {"2": {"errors": [{"type": "x", "message": "m", "details": "d"}], "class_type": "SaveImage"}}
}
EVENT = re.compile(r'event=(?:"([^"]*)"|(\S+))')


async def canceled_while_posting(harness: Harness) -> Receipt:
    """The client cancels while ComfyUI takes no prompt; how the job ended."""
    harness.comfy.hold_prompts = asyncio.Event()
    running = asyncio.create_task(harness.run())
    await harness.comfy.notice.until(lambda: "POST /prompt" in harness.comfy.calls)
    await harness.gateway.notice.until(lambda: len(harness.gateway.channels) == 1)
    await harness.gateway.say({"cancel": True, "reason": "client"})
    return await running


async def test_a_cancel_does_not_wait_for_a_comfyui_that_does_not_answer(tmp_path: Path) -> None:
    """It is busy loading a model, say, and takes neither the prompt nor its cancel: it is killed, before the report."""
    endless = dataclasses.replace(QUICK, cancel_s=0.1, comfy_call_s=600.0, transfer_stall_s=600.0)
    async with job_harness(tmp_path, holding(), GRAPH, timeouts=endless, engine=KillableComfy) as harness:
        receipt = await canceled_while_posting(harness)

        assert receipt.outcome == "canceled"
        assert (mortal_of(harness).kills, mortal_of(harness).restarts) == (1, 1)
        assert happened(harness, "prompt does not stop", "completed") == ["prompt does not stop", "completed"]
        # The post of it was broken off: it cannot come to the ComfyUI that was started next.
        assert harness.comfy.hold_prompts is not None
        harness.comfy.hold_prompts.set()
        await harness.context.client.queued("any")
        assert harness.comfy.calls.count("POST /prompt") == 1


class LateComfy(ExternalComfy):
    """Somebody else's, which answers again only after the worker wished it dead."""

    def __init__(self, url: str, timeouts: Timeouts, fake: FakeComfy) -> None:
        super().__init__(url, timeouts)
        self.fake = fake

    async def kill(self) -> bool:
        """See `ExternalComfy`."""
        assert self.fake.hold_prompts is not None
        self.fake.hold_prompts.set()
        return False


async def test_somebody_elses_comfyui_that_answers_late_is_asked_once_more(tmp_path: Path) -> None:
    async with job_harness(
        tmp_path, holding(), GRAPH, timeouts=dataclasses.replace(QUICK, cancel_s=0.1), engine=LateComfy
    ) as harness:
        receipt = await canceled_while_posting(harness)

        assert receipt.outcome == "canceled"
        assert [prompt.interrupted.is_set() for prompt in harness.comfy.prompts] == [True]


@pytest.mark.parametrize("lets_go", [True, False])
async def test_a_graph_refused_in_part_is_off_comfyui_before_that_is_reported(tmp_path: Path, lets_go: bool) -> None:
    """ComfyUI answers 200 with node errors and runs the rest."""
    async with job_harness(tmp_path, holding(lets_go), GRAPH, engine=KillableComfy) as harness:
        harness.comfy.answer = (200, PART_REFUSED)
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "invalid_workflow")
        assert mortal_of(harness).kills == (0 if lets_go else 1)
        expected = ["comfyui stopped the prompt", "completed"]
        assert happened(harness, *expected) == expected
        assert harness.comfy.running is None


async def test_a_refusal_in_part_is_told_although_comfyui_falls_silent(tmp_path: Path) -> None:
    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        comfy.unwell = True
        await prompt.interrupted.wait()
        return None

    quick = dataclasses.replace(QUICK, cancel_s=0.05)
    async with job_harness(tmp_path, script, GRAPH, timeouts=quick) as harness:
        harness.comfy.answer = (200, PART_REFUSED)
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "invalid_workflow")


async def test_after_runpods_job_stop_a_gateway_that_is_away_does_not_hold_the_worker(tmp_path: Path) -> None:
    """The deadline is minutes away, until which a report would be repeated otherwise."""
    brief = dataclasses.replace(QUICK, cancel_s=0.1, stop_report_s=0.1, complete_grace_s=600.0)
    async with job_harness(tmp_path, holding(), GRAPH, timeouts=brief) as harness:
        running = await started(harness)
        harness.gateway.faults["complete"] = [503] * 100_000
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        async with asyncio.timeout(10), harness.context.job_lock:
            assert harness.gateway.reports == []
            assert harness.comfy.deleted == [JOB]
        assert happened(harness, "stop not reported", "job over") == ["stop not reported", "job over"]


async def test_runpods_job_stop_said_twice_is_one_stop(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(lets_go=False), GRAPH, engine=KillableComfy) as harness:
        running = await started(harness)
        running.cancel()
        await harness.comfy.notice.until(lambda: "POST /interrupt" in harness.comfy.calls)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        async with asyncio.timeout(10), harness.context.job_lock:
            assert harness.gateway.report["outcome"] == "canceled"
            assert (mortal_of(harness).kills, mortal_of(harness).restarts) == (1, 1)


class Reviving(KillableComfy):
    """Starts when it is let."""

    def __init__(self, url: str, timeouts: Timeouts, fake: FakeComfy) -> None:
        super().__init__(url, timeouts, fake)
        self.begun, self.let = asyncio.Event(), asyncio.Event()

    async def ensure_running(self) -> bool:
        """See `MortalComfy`."""
        self.begun.set()
        await self.let.wait()
        return await super().ensure_running()


async def test_a_job_stopped_while_it_is_claimed_keeps_the_next_from_a_comfyui_that_starts(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(), GRAPH, engine=Reviving) as harness:
        comfy = harness.context.comfy
        assert isinstance(comfy, Reviving)
        harness.gateway.faults["claim"] = [503] * 100_000
        running = asyncio.create_task(harness.run())
        await comfy.begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert harness.context.job_lock.locked()
        comfy.let.set()
        async with asyncio.timeout(10), harness.context.job_lock:
            assert harness.comfy.prompts == []


def happened(harness: Harness, *events: str) -> list[str]:
    """These events of the worker's log, in their order."""
    found = (EVENT.search(line) for line in harness.log.getvalue().splitlines())
    names = [(event[1] or event[2]) for event in found if event is not None]
    return [name for name in names if name in events]


class DeafClient(ComfyClient):
    """A ComfyUI that answers no call; a call that is canceled says that it ran into its own limit."""

    def __init__(self) -> None:
        pass

    async def cancel(self, prompt_id: str) -> None:
        """See `ComfyClient`."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ComfyUnreachable("/queue: TimeoutError", undecided=True) from None


class NoSocket(ComfySocket):
    """A socket that is not used."""

    def __init__(self) -> None:
        pass


class Killable(ExternalComfy):
    """One that can be ended."""

    async def kill(self) -> bool:
        """See `ExternalComfy`."""
        return True


async def test_a_stop_ends_though_a_call_takes_its_cancellation_for_a_timeout() -> None:
    timeouts = dataclasses.replace(QUICK, cancel_s=0.01)
    engine = Killable("http://127.0.0.1:1", timeouts)
    executor = Executor(DeafClient(), NoSocket(), engine, timeouts, time.monotonic, Log(io.StringIO()))
    stopping = asyncio.create_task(executor.stop(JOB))
    # The call that would be made next is canceled by nothing.
    done, _ = await asyncio.wait({stopping}, timeout=10)

    assert done == {stopping}
    assert stopping.result() is True
