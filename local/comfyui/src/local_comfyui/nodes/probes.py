"""Two nodes for tests (--probe-nodes): a slow one with progress that can be interrupted, and a failing one."""

from PIL import Image

from local_comfyui.nodes.registry import Call, Preview, Result, Theme

NODES = Theme()

PREVIEW_SIDE = 64
PREVIEW_MAX_SIZE = 512


@NODES.node("SlowSteps", fingerprint=lambda inputs, folders: None)
def slow_steps(call: Call) -> Result:
    """`steps` equal pauses that take `seconds` together, each reported, with a coloured preview if asked for."""
    steps, seconds = call.integer("steps"), call.number("seconds")
    for step in range(steps):
        call.running.sleep(seconds / steps)
        call.running.check_interrupt()
        preview = None
        if call.flag("preview"):
            picture = Image.new("RGB", (PREVIEW_SIDE, PREVIEW_SIDE), (step * 40 % 255, 80, 120))
            preview = Preview("JPEG", picture, PREVIEW_MAX_SIZE)
        call.running.report(step + 1, steps, preview)
    return Result((call.image("image"),))


@NODES.node("Explode")
def explode(call: Call) -> Result:
    """Always out of memory."""
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (probe)")
