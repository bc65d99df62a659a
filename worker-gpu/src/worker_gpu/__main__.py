"""`python -m worker_gpu`: read the environment, start ComfyUI, take jobs. `… models …` looks after model files."""

import asyncio
import dataclasses
import os
import sys

from worker_gpu.lifecycle.comfyui import make_comfyui
from worker_gpu.lifecycle.process_guard import hide_from_others
from worker_gpu.log import Log
from worker_gpu.models.comfyui_paths import with_model_folders
from worker_gpu.settings import BadSetting, read_settings, start_advice
from worker_gpu.timeouts import Timeouts


def main() -> int:
    """Exit code: 0 after an orderly stop, 1 when the GPU is broken, 2 for a bad setting."""
    if sys.argv[1:2] == ["models"]:
        from worker_gpu.models.cli.commands import main as models_main

        return models_main(sys.argv[2:])
    try:
        settings = read_settings(os.environ)
    except BadSetting as error:
        Log(sys.stderr).error("bad setting", cause=str(error))
        return 2
    hide_from_others()
    log = Log(sys.stdout, settings.log_form).bind(worker=settings.worker_id)
    advice = start_advice(os.environ, settings)
    if advice is not None:
        log.warn("start limit is short", advice=advice)
    timeouts = dataclasses.replace(Timeouts(), start_s=settings.start_timeout_s, cancel_s=settings.cancel_grace_s)
    settings = with_model_folders(settings, os.environ, log)
    comfy = make_comfyui(settings, os.environ, timeouts, log)
    try:
        comfy.launch()
    except OSError as error:
        log.error("comfyui cannot be launched", cause=type(error).__name__)
        return 2
    # What takes time to import comes while ComfyUI starts.
    from worker_gpu.lifecycle.startup import GpuBroken, make_models, start_up

    try:
        models = make_models(dict(os.environ), log)
        ready = asyncio.run(start_up(settings, comfy, models, timeouts, log))
        from worker_gpu.handler import serve

        serve(ready)
    except GpuBroken as error:
        log.error("the gpu does not work", cause=str(error))
        return 1
    finally:
        comfy.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
