"""A custom-node package without nodes: it runs each prompt of the worker in folders of its own.

ComfyUI imports it by its path (`custom_nodes` of an `extra_model_paths` file) into its own process and Python, so it
imports nothing of the worker. docs/reference/worker.md has its protocol, docs/reference/isolation.md its reasons.
"""

import importlib.util

from .hooks import Comfy, install

NODE_CLASS_MAPPINGS: "dict[str, type]" = {}

# Outside ComfyUI, as in tests, the import installs nothing.
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
