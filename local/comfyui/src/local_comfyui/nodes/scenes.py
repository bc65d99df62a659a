"""3D: files are named, never opened."""

from local_comfyui.json_types import Json
from local_comfyui.nodes.registry import Call, Result, Theme

NODES = Theme()


@NODES.node("Preview3D")
def preview_3d(call: Call) -> Result:
    """Reports a 3D file (a path below the output folder) as a plain string, as ComfyUI's 3D nodes do."""
    shown: list[Json] = [call.text("model_file"), None, None]
    return Result(ui={"result": shown})
