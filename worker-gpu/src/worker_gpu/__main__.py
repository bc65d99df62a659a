"""`python -m worker_gpu`: read the environment, start ComfyUI, take jobs."""

import asyncio
import dataclasses
import importlib
import os
import sys

from worker_gpu.boot import Comfy, ComfyDidNotStart, make_comfy
from worker_gpu.log import Log
from worker_gpu.patience import Patience
from worker_gpu.settings import BadSetting, read_settings
from worker_gpu.workplace import Known, start_comfy

ADAPTER = "worker_gpu.handler"
"""Holds the RunPod SDK, which takes a second to import: done while ComfyUI starts."""


def main() -> int:
    """Exit code: 0 after an orderly stop, 1 when ComfyUI did not start, 2 for a bad setting."""
    try:
        settings = read_settings(os.environ)
    except BadSetting as error:
        Log(sys.stderr).error("bad setting", cause=str(error))
        return 2
    log = Log(sys.stdout, settings.log_form).bind(worker=settings.worker_id)
    patience = dataclasses.replace(Patience(), start_s=settings.start_timeout_s)
    comfy = make_comfy(settings, os.environ, patience, log)
    try:
        known = asyncio.run(_boot(comfy, patience))
        from worker_gpu.handler import serve

        serve(settings, comfy, known, patience, log)
    except ComfyDidNotStart as error:
        for line in error.tail:
            log.error("comfyui says", line=line)
        log.error("comfyui did not start", cause=str(error))
        return 1
    finally:
        comfy.end()
    return 0


async def _boot(comfy: Comfy, patience: Patience) -> Known | None:
    """Start ComfyUI and load the adapter, at once. Raises `ComfyDidNotStart`."""
    known, _ = await asyncio.gather(start_comfy(comfy, patience), asyncio.to_thread(importlib.import_module, ADAPTER))
    return known


if __name__ == "__main__":
    sys.exit(main())
