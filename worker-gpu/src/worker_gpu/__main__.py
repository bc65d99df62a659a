"""`python -m worker_gpu`: read the environment, start ComfyUI, take jobs."""

import dataclasses
import os
import sys

from worker_gpu.boot import ComfyDidNotStart, make_comfy
from worker_gpu.log import Log
from worker_gpu.patience import Patience
from worker_gpu.settings import BadSetting, read_settings


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
    # Here, since the SDK takes a second to import and a bad setting should be told at once.
    from worker_gpu.handler import serve

    try:
        serve(settings, comfy, patience, log)
    except ComfyDidNotStart as error:
        for line in error.tail:
            log.error("comfyui says", line=line)
        log.error("comfyui did not start", cause=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
