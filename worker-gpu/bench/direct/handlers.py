"""A handler in a process of its own, as RunPod's SDK would call it: jobs in by its stdin, times out by its stdout.

    handlers.py ours
    handlers.py theirs COMFYUI_PORT

`ours` reads the worker's environment and starts its ComfyUI where that says so. `theirs` imports `handler.py` of the
folder in WORKER_COMFYUI_HANDLER.
"""

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

Handle = Callable[[dict[str, object]], Awaitable[object]]


async def serve(handle: Handle, answers: "os.PathLike[str] | int") -> None:
    """Answer each job of stdin with how long it took and what it gave."""
    with open(answers, "w", encoding="utf-8") as out:  # noqa: ASYNC230, PTH123 -- a pipe
        print("{}", file=out, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            job = json.loads(line)
            began = time.perf_counter()
            answer = await handle(job)
            seconds = time.perf_counter() - began
            images = answer.get("images", []) if isinstance(answer, dict) else []
            error = str(answer.get("error", "")) if isinstance(answer, dict) else "no answer"
            told = {"ms": seconds * 1000, "images": len(images), "error": error}
            print(json.dumps(told), file=out, flush=True)


def ours(answers: int) -> None:
    """The worker's handler, as `python -m worker_gpu` gives it to the SDK."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
    from worker_gpu.lifecycle.comfyui import make_comfyui
    from worker_gpu.lifecycle.startup import make_models, start_up
    from worker_gpu.log import Log
    from worker_gpu.settings import read_settings
    from worker_gpu.timeouts import Timeouts

    settings, timeouts = read_settings(os.environ), Timeouts()
    log = Log(sys.stdout, settings.log_form)
    comfy = make_comfyui(settings, os.environ, timeouts, log)
    try:
        comfy.launch()
        ready = asyncio.run(start_up(settings, comfy, make_models(dict(os.environ), log), timeouts, log))
        from worker_gpu.handler import Handler, make_handle

        async def run() -> None:
            handler = Handler(ready)
            handler.open_early()
            await serve(make_handle(handler, log), answers)
            await handler.close()

        asyncio.run(run())
    finally:
        comfy.end()


def theirs(answers: int, port: str) -> None:
    """worker-comfyui's handler, which is a plain function and runs in the SDK's event loop."""
    folder = Path(os.environ["WORKER_COMFYUI_HANDLER"]).absolute()
    sys.path[:0] = [str(folder), str(folder / "src")]
    module = importlib.import_module("handler")
    module.COMFY_HOST = f"127.0.0.1:{port}"

    async def handle(job: dict[str, object]) -> object:
        return module.handler(job)

    asyncio.run(serve(handle, answers))


if __name__ == "__main__":
    # What handlers print is not for who measures.
    channel = os.dup(1)
    os.dup2(2, 1)
    if sys.argv[1] == "ours":
        ours(channel)
    else:
        theirs(channel, sys.argv[2])
