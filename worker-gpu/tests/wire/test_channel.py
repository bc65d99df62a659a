"""The channel over bad connections: every message arrives once and in order, after any break."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from fakes.comfy import Gate, playing
from fakes.harness import QUICK, job_harness
from fakes.recordings import recording
from worker_gpu.json_readers import maybe_object, maybe_text

pytestmark = pytest.mark.asyncio

CASE = recording("progress_without_previews")


@pytest.mark.parametrize("drops", [{1}, {2}, {1, 2, 3, 4}])
async def test_messages_lost_with_a_connection_are_sent_again(tmp_path: Path, drops: set[int]) -> None:
    async with job_harness(tmp_path, playing(CASE), CASE.graph) as harness:
        harness.gateway.drop_channel_at = set(drops)
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert len(harness.gateway.channels) > len(drops)
        assert [m["seq"] for m in harness.gateway.messages] == list(range(1, len(harness.gateway.messages) + 1))
        assert harness.gateway.types.count("output") == 1


async def test_node_changes_of_progress_that_was_never_sent_come_with_the_next(tmp_path: Path) -> None:
    """No connection while the graph runs: one progress tells of all nodes."""
    gate = Gate("execution_success")
    async with job_harness(tmp_path, playing(CASE, gate=gate), CASE.graph) as harness:
        harness.gateway.faults["channel"] = [503] * 200
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: harness.gateway.puts == 1)
        harness.gateway.faults["channel"].clear()
        gate.open.set()
        await running

        changed: set[str] = set()
        for message in harness.gateway.messages:
            changed |= set(maybe_object(message.get("nodes")))
        assert changed == set(CASE.graph)


async def test_the_job_goes_on_when_the_channel_is_refused(tmp_path: Path) -> None:
    gate = Gate("executed")
    async with job_harness(tmp_path, playing(CASE, gate=gate), CASE.graph) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: len(harness.gateway.channels) == 1)
        await harness.gateway.channels[-1].close(code=4401)
        gate.open.set()
        harness.gateway.silent_channel = True
        receipt = await running

        assert receipt.outcome == "succeeded"
        assert len(harness.gateway.channels) == 1


async def test_what_the_gateway_has_lost_sight_of_is_sent_again_on_the_same_connection(tmp_path: Path) -> None:
    gate = Gate("executed")
    async with job_harness(tmp_path, playing(CASE, gate=gate), CASE.graph) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: "progress" in harness.gateway.types)
        harness.gateway.silent_channel = True
        count = len(harness.gateway.messages)
        await harness.gateway.say({"ack": count - 1, "resend": True})
        await harness.gateway.notice.until(lambda: harness.gateway.resent > 0)
        harness.gateway.silent_channel = False
        gate.open.set()
        receipt = await running

        assert receipt.outcome == "succeeded"
        assert len(harness.gateway.channels) == 1


async def test_a_channel_without_acks_holds_complete_up_for_a_while_only(tmp_path: Path) -> None:
    timeouts = dataclasses.replace(QUICK, drain_s=0.1)
    async with job_harness(tmp_path, playing(CASE), CASE.graph, timeouts=timeouts) as harness:
        harness.gateway.silent_channel = True
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"


async def test_a_new_token_is_used_from_then_on(tmp_path: Path) -> None:
    gate = Gate("executed")
    async with job_harness(tmp_path, playing(CASE, gate=gate), CASE.graph) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: "progress" in harness.gateway.types)
        await harness.gateway.say({"token": "second"})
        await harness.gateway.say({"unknown": ["is", "ignored"]})
        harness.gateway.token = "second"
        # The close is read after the token; coming back already needs it.
        await harness.gateway.channels[-1].close(code=1012)
        await harness.gateway.notice.until(lambda: len(harness.gateway.channels) == 2)
        gate.open.set()
        receipt = await running

        assert receipt.outcome == "succeeded"


async def test_silent_channel_is_opened_again(tmp_path: Path) -> None:
    gate = Gate("executed")
    timeouts = dataclasses.replace(QUICK, ping_s=10.0, ping_silence_s=0.05)
    async with job_harness(tmp_path, playing(CASE, gate=gate), CASE.graph, timeouts=timeouts) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: len(harness.gateway.channels) >= 3)
        gate.open.set()
        receipt = await running

        assert receipt.outcome == "succeeded"


async def test_pings_keep_a_silent_channel_open(tmp_path: Path) -> None:
    gate = Gate("executed")
    timeouts = dataclasses.replace(QUICK, ping_s=0.02, ping_silence_s=1.0)
    async with job_harness(tmp_path, playing(CASE, gate=gate), CASE.graph, timeouts=timeouts) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: harness.gateway.pings >= 5)
        gate.open.set()
        await running

        assert len(harness.gateway.channels) == 1


async def test_a_gateway_that_is_restarted_in_mid_run_misses_nothing(tmp_path: Path) -> None:
    """Everything of the gateway fails for a while: channel, uploads, complete."""
    gate = Gate("executed")
    async with job_harness(tmp_path, playing(CASE, gate=gate), CASE.graph) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: "progress" in harness.gateway.types)
        harness.gateway.faults = {"channel": [503] * 5, "uploads": [0] * 5, "put": [503] * 3, "complete": [503] * 5}
        transport = harness.gateway.channels[-1]
        await transport.close(code=1012)
        gate.open.set()
        receipt = await running

        assert receipt.outcome == "succeeded"
        assert [maybe_text(t) for t in harness.gateway.types].count("output") == 1
        assert harness.gateway.faults == {"channel": [], "uploads": [], "put": [], "complete": []}
