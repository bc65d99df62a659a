"""Hooks into ComfyUI: wraps six of its functions and replaces none.

Tested with ComfyUI 0.3.64 and 0.33.0 (worker-gpu/tests/real). If a ComfyUI lacks one of the names, the import fails,
`/features` lacks the feature, and the worker accepts no jobs.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from .cache_keys import CacheKeys
from .request import FIELD, PROTOCOL, Request, read_request
from .run import Run, folders_of, process_state
from .sent_images import SENDERS
from .written_files import Root

GETTERS = ("get_input_directory", "get_output_directory", "get_temp_directory")


@dataclass(frozen=True)
class Comfy:
    """The modules of ComfyUI that are wrapped."""

    execution: Any
    folder_paths: Any
    nodes: Any
    server: Any
    logger: Any
    features: Any


class _State:
    """The state of the package. One prompt runs at a time, in one thread."""

    def __init__(self) -> None:
        self.keys = CacheKeys()
        self.run: Run | None = None
        self.scope: str | None = None
        self.tokens = itertools.count(1)


def install(comfy: Comfy) -> None:
    """Wrap the functions of `comfy`. Raises `AttributeError`, `ValueError` if one is not as expected."""
    state = _State()
    _track_folder_reads(comfy.folder_paths, state)
    _validate_in_own_folders(comfy)
    _execute_in_own_folders(comfy, state)
    _track_nodes(comfy, state)
    _extend_cache_keys(comfy, state)
    _store_sent_images(comfy.server.PromptServer, state)
    comfy.features.SERVER_FEATURE_FLAGS[FIELD] = PROTOCOL


def _track_folder_reads(paths: Any, state: _State) -> None:
    for name in GETTERS:
        original: Callable[[], str] = getattr(paths, name)

        def get_directory(original: "Callable[[], str]" = original) -> str:
            if state.run is not None and state.run.class_type is not None:
                state.keys.on_folder_read(state.run.class_type)
            return original()

        setattr(paths, name, functools.wraps(original)(get_directory))


def _validate_in_own_folders(comfy: Comfy) -> None:
    """ComfyUI validates a prompt when it is posted, and must find its input files then."""
    posted: ContextVar[Request | None] = ContextVar("comfy_edge_request", default=None)
    original = comfy.execution.validate_prompt

    def on_prompt(body: Any) -> Any:
        posted.set(read_request(body.get("extra_data") or {}))
        return body

    @functools.wraps(original)
    async def validate_prompt(*args: Any, **kwargs: Any) -> Any:
        request = posted.get()
        if request is None:
            return await original(*args, **kwargs)
        with folders_of(request, comfy.folder_paths):
            return await original(*args, **kwargs)

    comfy.server.PromptServer.instance.add_on_prompt_handler(on_prompt)
    comfy.execution.validate_prompt = validate_prompt


def _execute_in_own_folders(comfy: Comfy, state: _State) -> None:
    executor: Any = comfy.execution.PromptExecutor
    paths: Any = comfy.folder_paths
    original = executor.execute

    @functools.wraps(original)
    def execute(self: Any, prompt: Any, prompt_id: str, extra_data: Any = None, execute_outputs: Any = ()) -> None:
        request = read_request(extra_data or {})
        _enter_scope(self, state, request.scope if request is not None else None)
        if request is None:
            original(self, prompt, prompt_id, extra_data or {}, execute_outputs)
            return
        shared = (Root("output", paths.get_output_directory()), Root("temp", paths.get_temp_directory()))
        _delete_other_prompts(comfy)
        with folders_of(request, paths), process_state(request.scratch):
            run = state.run = Run(request, str(next(state.tokens)), state.keys, shared)
            try:
                original(self, prompt, prompt_id, extra_data, execute_outputs)
            finally:
                state.run = None
            report = self.history_result[FIELD] = run.report()
            server = comfy.server.PromptServer.instance
            if server.client_id is not None:
                # It comes before ComfyUI's last message of the prompt: a client that has both asks for no history.
                server.send_sync(FIELD, {**report, "prompt_id": prompt_id}, server.client_id)

    executor.execute = execute


def _delete_other_prompts(comfy: Comfy) -> None:
    """Delete the history and the log lines of other prompts before a prompt starts."""
    comfy.server.PromptServer.instance.prompt_queue.wipe_history()
    lines = getattr(comfy.logger, "logs", None)
    if lines is not None:
        lines.clear()


def _enter_scope(executor: Any, state: _State, scope: "str | None") -> None:
    """ComfyUI keeps node instances by their ids, with their state, such as paths of folders. Drop them when the scope
    changes."""
    if state.scope != scope:
        state.scope = scope
        instances = executor.caches.objects
        for instance_cache in (getattr(instances, "cache", None), getattr(instances, "subcaches", None)):
            if instance_cache is not None:
                instance_cache.clear()


def _track_nodes(comfy: Comfy, state: _State) -> None:
    original = comfy.execution.execute
    names = list(inspect.signature(original).parameters)
    graph_at, node_at, executed_at = (names.index(name) for name in ("dynprompt", "current_item", "executed"))

    @functools.wraps(original)
    async def execute(*args: Any) -> Any:
        run = state.run
        if run is None:
            return await original(*args)
        graph, node, executed = args[graph_at], args[node_at], args[executed_at]
        display_id = graph.get_display_node_id(node)
        with run.at_node(display_id, graph.get_node(node)["class_type"]):
            result = await original(*args)
        if node in executed or result[0] is not comfy.execution.ExecutionResult.SUCCESS:
            run.executed(display_id)
        return result

    comfy.execution.execute = execute


def _extend_cache_keys(comfy: Comfy, state: _State) -> None:
    changed: Any = comfy.execution.IsChangedCache
    original = changed.get

    @functools.wraps(original)
    async def get(self: Any, node_id: str) -> Any:
        run = state.run
        if run is None:
            return await original(self, node_id)
        node = self.dynprompt.get_node(node_id)
        # ComfyUI would use the value that a prompt brings, and would write its own value into every saved file.
        node.pop("is_changed", None)
        value = await original(self, node_id)
        node.pop("is_changed", None)
        definition = comfy.nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
        request = run.request
        addition = state.keys.addition(node, definition, run.token, request.scope, request.inputs)
        return value if addition is None else [value, addition]

    changed.get = get


def _store_sent_images(server: Any, state: _State) -> None:
    original = server.send_sync

    @functools.wraps(original)
    def send_sync(self: Any, event: Any, data: Any, sid: Any = None) -> None:
        run = state.run
        if run is not None and run.class_type in SENDERS and (image := _image_in(data)) is not None:
            run.on_image(image[0], image[1])
        original(self, event, data, sid)

    server.send_sync = send_sync


def _image_in(data: Any) -> "tuple[str, Any] | None":
    """Format and image of `(format, image, size)` or `((format, image, size), metadata)`."""
    parts = _parts(data)
    if parts and _parts(parts[0]):
        parts = _parts(parts[0])
    if len(parts) == 3 and isinstance(parts[0], str) and hasattr(parts[1], "save"):
        return parts[0], parts[1]
    return None


def _parts(value: Any) -> "Sequence[Any]":
    return cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else ()
