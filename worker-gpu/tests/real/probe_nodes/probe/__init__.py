"""Custom nodes that do what real ones do and a warm worker must bear: keep things, and read and write in odd ways."""

import os
import tempfile

import folder_paths
from PIL import Image
from protocol import BinaryEventTypes
from server import PromptServer

IMPORTED_OUTPUT = folder_paths.get_output_directory()


class _Text:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"default": ""})}}


class ProbeMemory(_Text):
    """Keeps every text it saw in its instance, which ComfyUI keeps between prompts."""

    def __init__(self):
        self.seen = []

    def run(self, text):
        self.seen.append(text)
        return (" ".join(self.seen),)


class ProbeImportedPath(_Text):
    """Writes where ComfyUI's output folder was when the package was imported."""

    OUTPUT_NODE = True

    def run(self, text):
        with open(os.path.join(IMPORTED_OUTPUT, "imported.txt"), "w") as file:
            file.write(text)
        return (text,)


class ProbeProcess(_Text):
    """Changes the process's environment and working folder, and leaves a temporary file of the system's kind."""

    def run(self, text):
        before = os.environ.get("PROBE", "nothing")
        os.environ["PROBE"] = text
        os.chdir("/")
        handle, path = tempfile.mkstemp(prefix="probe")
        os.close(handle)
        return (f"{before} {os.path.dirname(path)}",)

    @classmethod
    def IS_CHANGED(cls, text):
        return float("nan")


class ProbeReader(_Text):
    """Reads an input file that its text names. Like many, it does not tell ComfyUI when the file is another."""

    def run(self, text):
        with open(os.path.join(folder_paths.get_input_directory(), text)) as file:
            return (file.read(),)


class ProbeListing:
    """Names the files of the input folder. Nothing of that is in its inputs."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"order": (["up", "down"],)}}

    def run(self, order):
        return (" ".join(sorted(os.listdir(folder_paths.get_input_directory()), reverse=order == "down")),)


class ProbeWriter(_Text):
    """In the middle of a graph: writes a temp file, and gives its path."""

    def run(self, text):
        path = os.path.join(folder_paths.get_temp_directory(), "middle.txt")
        with open(path, "w") as file:
            file.write(text)
        return (path,)


class ProbeOpen(_Text):
    """Reads the file at a path."""

    def run(self, text):
        with open(text) as file:
            return (file.read(),)


class SendImageWebSocket:
    """As comfyui-tooling-nodes has it."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "format": (["PNG", "JPEG"], {"default": "PNG"})}}

    def run(self, images, format):
        server = PromptServer.instance
        for tensor in images:
            picture = Image.fromarray((255.0 * tensor.cpu().numpy()).clip(0, 255).astype("uint8"))
            server.send_sync(
                BinaryEventTypes.UNENCODED_PREVIEW_IMAGE,
                ["PNG" if format == "PNG" else "JPEG", picture, None],
                server.client_id,
            )
        return {"ui": {"images": [{"source": "websocket", "content-type": "image/png", "type": "output"}]}}


NODE_CLASS_MAPPINGS = {
    "ProbeMemory": ProbeMemory,
    "ProbeImportedPath": ProbeImportedPath,
    "ProbeProcess": ProbeProcess,
    "ProbeReader": ProbeReader,
    "ProbeListing": ProbeListing,
    "ProbeWriter": ProbeWriter,
    "ProbeOpen": ProbeOpen,
    "ETN_SendImageWebSocket": SendImageWebSocket,
}
