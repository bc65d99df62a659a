"""Stopping where ComfyUI does not answer or let go, or the gateway does not: bounded, and with nothing left running."""

import asyncio
import dataclasses
import io
import re
import time
from pathlib import Path

import pytest

from fakes.comfy import FakeComfy, Prompt, holding
from fakes.mortal import MortalComfy, mortal_of
from fakes.stage import JOB, QUICK, Stage, staged
from test_stop import GRAPH, started
from worker_gpu.boot import ExternalComfy
from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.comfy.execute import Executor
from worker_gpu.comfy.socket import ComfySocket
from worker_gpu.contract import Receipt
from worker_gpu.log import Log
from worker_gpu.patience import Patience
from worker_gpu.shape import JsonObject

pytestmark = pytest.mark.asyncio

PART_REFUSED: JsonObject = {
    "node_errors": {"2": {"errors": [{"type": "x", "message": "m", "details": "d"}], "class_type": "SaveImage"}}
}
EVENT = re.compile(r'event=(?:"([^"]*)"|(\S+))')


async def canceled_while_posting(stage: Stage) -> Receipt:
    """The client cancels while ComfyUI takes no prompt; how the job ended."""
    stage.comfy.hold_prompts = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await stage.comfy.notice.until(lambda: "POST /prompt" in stage.comfy.calls)
    await stage.gateway.notice.until(lambda: len(stage.gateway.channels) == 1)
    await stage.gateway.say({"cancel": True, "reason": "client"})
    return await running


async def test_a_cancel_does_not_wait_for_a_comfyui_that_does_not_answer(tmp_path: Path) -> None:
    """It is busy loading a model, say, and takes neither the prompt nor its cancel: it is killed, before the report."""
    endless = dataclasses.replace(QUICK, cancel_s=0.1, comfy_call_s=600.0, transfer_stall_s=600.0)
    async with staged(tmp_path, holding(), GRAPH, patience=endless, engine=MortalComfy) as stage:
        receipt = await canceled_while_posting(stage)

        assert receipt.outcome == "canceled"
        assert (mortal_of(stage).kills, mortal_of(stage).restarts) == (1, 1)
        assert happened(stage, "prompt does not stop", "completed") == ["prompt does not stop", "completed"]
        # The post of it was broken off: it cannot come to the ComfyUI that was started next.
        assert stage.comfy.hold_prompts is not None
        stage.comfy.hold_prompts.set()
        await stage.place.client.queued("any")
        assert stage.comfy.calls.count("POST /prompt") == 1


class LateComfy(ExternalComfy):
    """Somebody else's, which answers again only after the worker wished it dead."""

    def __init__(self, url: str, patience: Patience, fake: FakeComfy) -> None:
        super().__init__(url, patience)
        self.fake = fake

    async def kill(self) -> bool:
        """See `ExternalComfy`."""
        assert self.fake.hold_prompts is not None
        self.fake.hold_prompts.set()
        return False


async def test_somebody_elses_comfyui_that_answers_late_is_asked_once_more(tmp_path: Path) -> None:
    async with staged(
        tmp_path, holding(), GRAPH, patience=dataclasses.replace(QUICK, cancel_s=0.1), engine=LateComfy
    ) as stage:
        receipt = await canceled_while_posting(stage)

        assert receipt.outcome == "canceled"
        assert [prompt.interrupted.is_set() for prompt in stage.comfy.prompts] == [True]


@pytest.mark.parametrize("lets_go", [True, False])
async def test_a_graph_refused_in_part_is_off_comfyui_before_that_is_reported(tmp_path: Path, lets_go: bool) -> None:
    """ComfyUI answers 200 with node errors and runs the rest."""
    async with staged(tmp_path, holding(lets_go), GRAPH, engine=MortalComfy) as stage:
        stage.comfy.answer = (200, PART_REFUSED)
        receipt = await stage.run()

        assert (receipt.outcome, receipt.code) == ("failed", "invalid_workflow")
        assert mortal_of(stage).kills == (0 if lets_go else 1)
        expected = ["comfyui stopped the prompt", "completed"]
        assert happened(stage, *expected) == expected
        assert stage.comfy.running is None


async def test_a_refusal_in_part_is_told_although_comfyui_falls_silent(tmp_path: Path) -> None:
    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        comfy.unwell = True
        await prompt.interrupted.wait()
        return None

    quick = dataclasses.replace(QUICK, cancel_s=0.05)
    async with staged(tmp_path, script, GRAPH, patience=quick) as stage:
        stage.comfy.answer = (200, PART_REFUSED)
        receipt = await stage.run()

        assert (receipt.outcome, receipt.code) == ("failed", "invalid_workflow")


async def test_after_runpods_job_stop_a_gateway_that_is_away_does_not_hold_the_worker(tmp_path: Path) -> None:
    """The deadline is minutes away, until which a report would be repeated otherwise."""
    brief = dataclasses.replace(QUICK, cancel_s=0.1, stop_report_s=0.1, complete_grace_s=600.0)
    async with staged(tmp_path, holding(), GRAPH, patience=brief) as stage:
        running = await started(stage)
        stage.gateway.faults["complete"] = [503] * 100_000
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        async with asyncio.timeout(10), stage.place.turn:
            assert stage.gateway.reports == []
            assert stage.comfy.deleted == [JOB]
        assert happened(stage, "stop not reported", "job over") == ["stop not reported", "job over"]


async def test_runpods_job_stop_said_twice_is_one_stop(tmp_path: Path) -> None:
    async with staged(tmp_path, holding(lets_go=False), GRAPH, engine=MortalComfy) as stage:
        running = await started(stage)
        running.cancel()
        await stage.comfy.notice.until(lambda: "POST /interrupt" in stage.comfy.calls)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        async with asyncio.timeout(10), stage.place.turn:
            assert stage.gateway.report["outcome"] == "canceled"
            assert (mortal_of(stage).kills, mortal_of(stage).restarts) == (1, 1)


class Reviving(MortalComfy):
    """Starts when it is let."""

    def __init__(self, url: str, patience: Patience, fake: FakeComfy) -> None:
        super().__init__(url, patience, fake)
        self.begun, self.let = asyncio.Event(), asyncio.Event()

    async def ensure_running(self) -> bool:
        """See `MortalComfy`."""
        self.begun.set()
        await self.let.wait()
        return await super().ensure_running()


async def test_a_job_stopped_while_it_is_claimed_keeps_the_next_from_a_comfyui_that_starts(tmp_path: Path) -> None:
    async with staged(tmp_path, holding(), GRAPH, engine=Reviving) as stage:
        comfy = stage.place.comfy
        assert isinstance(comfy, Reviving)
        stage.gateway.faults["claim"] = [503] * 100_000
        running = asyncio.create_task(stage.run())
        await comfy.begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert stage.place.turn.locked()
        comfy.let.set()
        async with asyncio.timeout(10), stage.place.turn:
            assert stage.comfy.prompts == []


def happened(stage: Stage, *events: str) -> list[str]:
    """These events of the worker's log, in their order."""
    found = (EVENT.search(line) for line in stage.log.getvalue().splitlines())
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
    patience = dataclasses.replace(QUICK, cancel_s=0.01)
    engine = Killable("http://127.0.0.1:1", patience)
    executor = Executor(DeafClient(), NoSocket(), engine, patience, time.monotonic, Log(io.StringIO()))
    stopping = asyncio.create_task(executor.stop(JOB))
    # The call that would be made next is canceled by nothing.
    done, _ = await asyncio.wait({stopping}, timeout=10)

    assert done == {stopping}
    assert stopping.result() is True
