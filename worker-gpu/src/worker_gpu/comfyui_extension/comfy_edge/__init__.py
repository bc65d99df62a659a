"""A custom-node package without nodes: runs each of the worker's prompts in folders of its own.

ComfyUI imports it by its path (`custom_nodes` of an `extra_model_paths` file), in ComfyUI's process and with ComfyUI's
Python, so it uses nothing of the worker. Its protocol is in docs/reference/worker.md, its reasons
in docs/reference/isolation.md.
"""

import importlib.util

from .hooks import Comfy, install

NODE_CLASS_MAPPINGS: "dict[str, type]" = {}

# Elsewhere than inside ComfyUI, as in tests, the package is only read.
if importlib.util.find_spec("folder_paths") is not None:
    install(
        Comfy(
            execution=importlib.import_module("execution"),
            folder_paths=importlib.import_module("folder_paths"),
            nodes=importlib.import_module("nodes"),
            server=importlib.import_module("server"),
            logger=importlib.import_module("app.logger"),
            features=importlib.import_module("comfy_api.feature_flags"),
        )
    )
