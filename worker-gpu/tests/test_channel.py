"""The channel over bad connections: every message arrives once and in order, whatever breaks."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from fakes.comfy import Gate, playing
from fakes.recordings import recording
from fakes.stage import QUICK, staged
from worker_gpu.shape import maybe_object, maybe_text

pytestmark = pytest.mark.asyncio

CASE = recording("progress_without_previews")


@pytest.mark.parametrize("drops", [{1}, {2}, {1, 2, 3, 4}])
async def test_messages_lost_with_a_connection_are_sent_again(tmp_path: Path, drops: set[int]) -> None:
    async with staged(tmp_path, playing(CASE), CASE.graph) as stage:
        stage.gateway.drop_channel_at = set(drops)
        receipt = await stage.run()

        assert receipt.outcome == "succeeded"
        assert len(stage.gateway.channels) > len(drops)
        assert [m["seq"] for m in stage.gateway.messages] == list(range(1, len(stage.gateway.messages) + 1))
        assert stage.gateway.types.count("output") == 1


async def test_node_changes_of_progress_that_was_never_sent_come_with_the_next(tmp_path: Path) -> None:
    """No connection while the graph runs: one progress tells of all nodes."""
    gate = Gate("execution_success")
    async with staged(tmp_path, playing(CASE, gate=gate), CASE.graph) as stage:
        stage.gateway.faults["channel"] = [503] * 200
        running = asyncio.create_task(stage.run())
        await stage.gateway.notice.until(lambda: stage.gateway.puts == 1)
        stage.gateway.faults["channel"].clear()
        gate.open.set()
        await running

        changed: set[str] = set()
        for message in stage.gateway.messages:
            changed |= set(maybe_object(message.get("nodes")))
        assert changed == set(CASE.graph)


async def test_the_job_goes_on_when_the_channel_is_refused(tmp_path: Path) -> None:
    gate = Gate("executed")
    async with staged(tmp_path, playing(CASE, gate=gate), CASE.graph) as stage:
        running = asyncio.create_task(stage.run())
        await stage.gateway.notice.until(lambda: len(stage.gateway.channels) == 1)
        await stage.gateway.channels[-1].close(code=4401)
        gate.open.set()
        stage.gateway.silent_channel = True
        receipt = await running

        assert receipt.outcome == "succeeded"
        assert len(stage.gateway.channels) == 1


async def test_what_the_gateway_has_lost_sight_of_is_sent_again_on_the_same_connection(tmp_path: Path) -> None:
    gate = Gate("executed")
    async with staged(tmp_path, playing(CASE, gate=gate), CASE.graph) as stage:
        running = asyncio.create_task(stage.run())
        await stage.gateway.notice.until(lambda: "progress" in stage.gateway.types)
        stage.gateway.silent_channel = True
        count = len(stage.gateway.messages)
        await stage.gateway.say({"ack": count - 1, "resend": True})
        await stage.gateway.notice.until(lambda: stage.gateway.resent > 0)
        stage.gateway.silent_channel = False
        gate.open.set()
        receipt = await running

        assert receipt.outcome == "succeeded"
        assert len(stage.gateway.channels) == 1


async def test_a_channel_without_acks_holds_complete_up_for_a_while_only(tmp_path: Path) -> None:
    patience = dataclasses.replace(QUICK, settle_s=0.1)
    async with staged(tmp_path, playing(CASE), CASE.graph, patience=patience) as stage:
        stage.gateway.silent_channel = True
        receipt = await stage.run()

        assert receipt.outcome == "succeeded"


async def test_a_new_token_is_used_from_then_on(tmp_path: Path) -> None:
    gate = Gate("executed")
    async with staged(tmp_path, playing(CASE, gate=gate), CASE.graph) as stage:
        running = asyncio.create_task(stage.run())
        await stage.gateway.notice.until(lambda: "progress" in stage.gateway.types)
        await stage.gateway.say({"token": "second"})
        await stage.gateway.say({"unknown": ["is", "ignored"]})
        stage.gateway.token = "second"
        # The close is read after the token; coming back already needs it.
        await stage.gateway.channels[-1].close(code=1012)
        await stage.gateway.notice.until(lambda: len(stage.gateway.channels) == 2)
        gate.open.set()
        receipt = await running

        assert receipt.outcome == "succeeded"


async def test_a_channel_that_falls_silent_is_opened_anew(tmp_path: Path) -> None:
    gate = Gate("executed")
    patience = dataclasses.replace(QUICK, ping_s=10.0, ping_silence_s=0.05)
    async with staged(tmp_path, playing(CASE, gate=gate), CASE.graph, patience=patience) as stage:
        running = asyncio.create_task(stage.run())
        await stage.gateway.notice.until(lambda: len(stage.gateway.channels) >= 3)
        gate.open.set()
        receipt = await running

        assert receipt.outcome == "succeeded"


async def test_pings_keep_a_silent_channel_open(tmp_path: Path) -> None:
    gate = Gate("executed")
    patience = dataclasses.replace(QUICK, ping_s=0.02, ping_silence_s=1.0)
    async with staged(tmp_path, playing(CASE, gate=gate), CASE.graph, patience=patience) as stage:
        running = asyncio.create_task(stage.run())
        await stage.gateway.notice.until(lambda: stage.gateway.pings >= 5)
        gate.open.set()
        await running

        assert len(stage.gateway.channels) == 1


async def test_a_gateway_that_is_restarted_in_mid_run_misses_nothing(tmp_path: Path) -> None:
    """Everything of the gateway fails for a while: channel, uploads, complete."""
    gate = Gate("executed")
    async with staged(tmp_path, playing(CASE, gate=gate), CASE.graph) as stage:
        running = asyncio.create_task(stage.run())
        await stage.gateway.notice.until(lambda: "progress" in stage.gateway.types)
        stage.gateway.faults = {"channel": [503] * 5, "uploads": [0] * 5, "put": [503] * 3, "complete": [503] * 5}
        transport = stage.gateway.channels[-1]
        await transport.close(code=1012)
        gate.open.set()
        receipt = await running

        assert receipt.outcome == "succeeded"
        assert [maybe_text(t) for t in stage.gateway.types].count("output") == 1
        assert stage.gateway.faults == {"channel": [], "uploads": [], "put": [], "complete": []}
