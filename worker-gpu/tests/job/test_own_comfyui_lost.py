"""A ComfyUI of the worker's own that dies, hangs or does not start: killed, restarted, and the job gets the reason."""

import asyncio
import functools
import io
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from fakes.own_comfyui import ENGINE, engine_settings, own_harness
from job.test_own_comfyui import SAVE, Engine, files_below, png, running_engine, slow
from worker_gpu.direct.run import run_direct
from worker_gpu.json_readers import JsonObject, maybe_object
from worker_gpu.lifecycle.comfyui import OwnComfy
from worker_gpu.lifecycle.worker_health import NEVER_STARTED
from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


async def test_a_comfyui_that_is_killed_fails_the_job_at_once_and_runs_the_next(engine: Engine) -> None:
    async with own_harness(engine.settings, engine.comfy, slow(steps=200, seconds=60.0)) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: "progress" in harness.gateway.types)
        os.kill(engine.comfy.pid, 9)
        receipt = await running

        assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable")
        assert maybe_object(harness.gateway.report["error"])["retryable"] is True
    async with own_harness(engine.settings, engine.comfy, SAVE) as harness:
        assert (await harness.run()).outcome == "succeeded"


@pytest.mark.parametrize("canceled", [False, True])
async def test_a_comfyui_that_hangs_is_killed_and_the_next_job_runs(engine: Engine, canceled: bool) -> None:
    """A process that is stopped answers nothing and ignores every request to end."""
    timeouts = Timeouts(comfy_call_s=0.2, poll_quiet_s=0.1, poll_max_s=0.1, unreachable_s=0.4)
    if canceled:
        # Whatever else takes time may take for ever: the cancel does not wait for it.
        timeouts = Timeouts(comfy_call_s=3600, terminate_s=3600, unreachable_s=3600, poll_quiet_s=0.1)
    async with own_harness(engine.settings, engine.comfy, slow(steps=200, seconds=60.0), timeouts=timeouts) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: "progress" in harness.gateway.types)
        os.kill(engine.comfy.pid, signal.SIGSTOP)
        if canceled:
            await harness.gateway.say({"cancel": True, "reason": "client"})
        receipt = await running

        expected = ("canceled", None) if canceled else ("failed", "execution_error")
        assert (receipt.outcome, receipt.code) == expected
    async with own_harness(engine.settings, engine.comfy, SAVE) as harness:
        assert (await harness.run()).outcome == "succeeded"


async def test_a_cancel_with_the_patience_of_production_waits_for_no_answer(engine: Engine) -> None:
    """Of a process that is stopped, as one is while it loads a model: no call runs into its limit, killed is at once,
    and the report comes after that."""
    async with own_harness(engine.settings, engine.comfy, slow(steps=200, seconds=60.0)) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: "progress" in harness.gateway.types)
        os.kill(engine.comfy.pid, signal.SIGSTOP)
        await harness.gateway.say({"cancel": True, "reason": "client"})
        assert (await running).outcome == "canceled"

        log = harness.log.getvalue()
        assert "TimeoutError" not in log, "a call was waited for"
        assert log.index("prompt does not stop") < log.index("event=completed")
        assert harness.context.timeouts.cancel_s == 1.0


class SlowToStart(OwnComfy):
    """Starts when it is let, as one that loads many custom nodes."""

    async def start(self) -> None:
        """See `OwnComfy`."""
        self.starts += 1
        self.begun.set()
        await self.let.wait()
        await super().start()

    starts = 0

    @functools.cached_property
    def begun(self) -> asyncio.Event:
        """Set at the first start."""
        return asyncio.Event()

    @functools.cached_property
    def let(self) -> asyncio.Event:
        """Starts wait for this."""
        return asyncio.Event()


async def test_a_restart_goes_on_after_runpods_job_stop_with_the_jobs_files_gone(tmp_path: Path) -> None:
    """RunPod is not made to wait for it; the next job is, and finds ComfyUI started once."""
    timeouts = Timeouts(cancel_s=0.2, stop_report_s=0.3)
    settings = engine_settings(tmp_path)
    assert settings.comfyui_path is not None
    comfy = SlowToStart(settings, settings.comfyui_path, os.environ, timeouts, Log(io.StringIO()))
    comfy.let.set()
    await comfy.start()
    comfy.let.clear()
    comfy.begun.clear()
    graph: dict[str, JsonObject] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "early"}},
        **{n: node for n, node in slow(steps=1, seconds=600.0).items() if n == "5"},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "late"}},
    }
    try:
        async with own_harness(
            settings, comfy, graph, lambda job: job.inputs.update({"a.png": png(7)}), timeouts
        ) as harness:
            running = asyncio.create_task(harness.run())
            await harness.gateway.notice.until(lambda: "output" in harness.gateway.types)
            assert len(files_below(settings.data_dir / "jobs")) == 2
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

            assert harness.gateway.report["outcome"] == "canceled"
            await comfy.begun.wait()
            for folder in ("jobs", "input", "output", "spool"):
                assert files_below(settings.data_dir / folder) == []
            next_job = asyncio.create_task(harness.context.job_lock.acquire())
            await asyncio.sleep(0)
            assert not next_job.done()
            comfy.let.set()
            await next_job
            harness.context.job_lock.release()
        async with own_harness(settings, comfy, SAVE, timeouts=timeouts) as harness:
            assert (await harness.run()).outcome == "succeeded"
        assert comfy.starts == 2
    finally:
        comfy.end()


async def test_a_comfyui_that_is_starting_for_a_job_is_kept_for_the_next_when_that_job_is_stopped(
    tmp_path: Path,
) -> None:
    settings = engine_settings(tmp_path)
    assert settings.comfyui_path is not None
    comfy = SlowToStart(settings, settings.comfyui_path, os.environ, Timeouts(), Log(io.StringIO()))
    comfy.let.set()
    await comfy.start()
    await comfy.kill()
    comfy.let.clear()
    comfy.begun.clear()
    try:
        async with own_harness(settings, comfy, SAVE, known=False) as harness:
            running = asyncio.create_task(harness.run())
            await comfy.begun.wait()
            await harness.gateway.notice.until(lambda: len(harness.gateway.channels) == 1)
            await harness.gateway.say({"cancel": True, "reason": "client"})
            await harness.gateway.notice.until(lambda: len(harness.gateway.reports) == 1)
            comfy.let.set()
            assert (await running).outcome == "canceled"
        async with own_harness(settings, comfy, SAVE) as harness:
            assert (await harness.run()).outcome == "succeeded"
        assert comfy.starts == 2
    finally:
        comfy.end()


async def test_a_comfyui_that_does_not_start_is_tried_once_for_a_job(tmp_path: Path) -> None:
    """RunPod replaces the worker then: a second try would only keep it from that, for up to ten minutes."""
    settings, written = engine_settings(tmp_path, {"COMFYUI_ARGS": "--no-such-flag"}), io.StringIO()
    assert settings.comfyui_path is not None
    comfy = OwnComfy(settings, settings.comfyui_path, os.environ, Timeouts(start_s=30.0), Log(written))
    async with own_harness(settings, comfy, SAVE, known=False) as harness:
        receipt = await harness.run()

        assert (receipt.code, receipt.refresh_worker) == ("comfyui_unavailable", True)
        assert written.getvalue().count('event="comfyui starting"') == 1
        assert files_below(settings.data_dir / "spool") == []


async def test_a_comfyui_that_cannot_be_launched_again_leaves_the_answer_as_it_is(tmp_path: Path) -> None:
    """With a gateway and without; the next job fails because it does not start."""
    place_of_comfyui = tmp_path / "comfyui"
    place_of_comfyui.symlink_to(ENGINE)
    settings = engine_settings(tmp_path / "data", {"COMFYUI_PATH": str(place_of_comfyui)})
    comfy = OwnComfy(settings, place_of_comfyui, os.environ, Timeouts(), Log(io.StringIO()))
    await comfy.start()
    try:
        async with own_harness(settings, comfy, slow(steps=200, seconds=60.0)) as harness:
            running = asyncio.create_task(harness.run())
            await harness.gateway.notice.until(lambda: "progress" in harness.gateway.types)
            place_of_comfyui.unlink()
            os.kill(comfy.pid, signal.SIGKILL)
            receipt = await running

            assert (receipt.outcome, receipt.code, receipt.refresh_worker) == ("failed", "comfyui_unavailable", False)
            assert 'cause="ComfyUI cannot be launched: FileNotFoundError"' in harness.log.getvalue()

            graph: JsonObject = {"workflow": {**SAVE}}
            answer = await run_direct(harness.context, "1", graph, lambda _progress: None)
            assert (answer["code"], answer["message"]) == ("comfyui_unavailable", NEVER_STARTED)
    finally:
        comfy.end()
