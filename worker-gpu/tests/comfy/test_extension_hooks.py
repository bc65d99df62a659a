"""The hooks of the worker's package into ComfyUI, with modules that have ComfyUI's names and little behind them. Both
supported versions do the same at these places; `tests/real` has the versions themselves."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Generator
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker_gpu.comfyui_extension.comfy_edge.hooks import Comfy, install
from worker_gpu.job.folders import ComfyFolders, Folders

Script = Callable[["Engine", str], Awaitable[None]]
"""The behavior of a node: gets the engine and the id of the node."""


class ExecutionResult(Enum):
    """Of a node."""

    SUCCESS = 0
    FAILURE = 1


class Graph:
    """A `DynamicPrompt`. A node with a dot in its id is expanded from the node before the dot."""

    def __init__(self, nodes: dict[str, dict[str, Any]]) -> None:
        self.nodes = nodes

    def get_node(self, node_id: str) -> dict[str, Any]:
        return self.nodes[node_id]

    def get_display_node_id(self, node_id: str) -> str:
        return node_id.partition(".")[0]


class Plain:
    """A class of nodes."""

    OUTPUT_NODE = False


class Out:
    """A class of output nodes."""

    OUTPUT_NODE = True


class Engine:
    """ComfyUI's modules with the hooks installed. `scripts` are the behaviors of nodes by their ids."""

    def __init__(self, tmp_path: Path) -> None:
        engine = self
        self.folders = {"input": "shared-in", "output": str(tmp_path / "out"), "temp": str(tmp_path / "tmp")}
        self.scripts: dict[str, Script] = {}
        self.sent: list[tuple[object, object]] = []
        self.checked_in: list[str] = []
        self.wiped = 0
        self.keys: dict[str, object] = {}
        self.logs = ["a line of another job"]

        class IsChangedCache:
            def __init__(self, graph: Graph) -> None:
                self.dynprompt = graph

            async def get(self, node_id: str) -> object:
                node = self.dynprompt.get_node(node_id)
                node.setdefault("is_changed", ["computed"])
                return node["is_changed"]

        class PromptExecutor:
            def __init__(self) -> None:
                objects = SimpleNamespace(cache={"k": "an instance"}, subcaches={})
                self.caches = SimpleNamespace(objects=objects)
                self.history_result: dict[str, Any] = {}

            def execute(self, prompt: Any, prompt_id: str, extra_data: Any, execute_outputs: Any = ()) -> None:
                del prompt_id, execute_outputs
                asyncio.run(self._run(Graph(prompt), extra_data))

            async def _run(self, graph: Graph, extra_data: Any) -> None:
                executed: set[str] = set()
                engine.keys = {node: await IsChangedCache(graph).get(node) for node in graph.nodes}
                for node in graph.nodes:
                    await engine.execution.execute(None, graph, None, node, extra_data, executed, "p")
                self.history_result = {"outputs": {}}

        async def execute(
            server: Any, dynprompt: Graph, caches: Any, current_item: str, extra_data: Any, executed: set[str], p: str
        ) -> tuple[ExecutionResult, None, None]:
            del server, dynprompt, caches, extra_data, p
            if (script := engine.scripts.get(current_item)) is not None:
                await script(engine, current_item)
                executed.add(current_item)
            return ExecutionResult.SUCCESS, None, None

        async def validate_prompt(prompt_id: str, prompt: Any, targets: Any) -> tuple[bool]:
            del prompt_id, prompt, targets
            engine.checked_in.append(engine.paths.get_input_directory())
            return (False,)

        class PromptServer:
            instance: Any = None
            client_id = "c"

            def __init__(self) -> None:
                self.handlers: list[Callable[[Any], Any]] = []
                self.prompt_queue = SimpleNamespace(wipe_history=engine.wipe)

            def add_on_prompt_handler(self, handler: Callable[[Any], Any]) -> None:
                self.handlers.append(handler)

            def send_sync(self, event: Any, data: Any, sid: Any = None) -> None:
                del sid
                engine.sent.append((event, data))

        self.server_class = PromptServer
        PromptServer.instance = PromptServer()
        self.execution: Any = SimpleNamespace(
            execute=execute,
            validate_prompt=validate_prompt,
            PromptExecutor=PromptExecutor,
            IsChangedCache=IsChangedCache,
            ExecutionResult=ExecutionResult,
        )
        self.paths: Any = SimpleNamespace(
            get_input_directory=lambda: engine.folders["input"],
            get_output_directory=lambda: engine.folders["output"],
            get_temp_directory=lambda: engine.folders["temp"],
            set_input_directory=functools.partial(engine.folders.__setitem__, "input"),
            set_output_directory=functools.partial(engine.folders.__setitem__, "output"),
            set_temp_directory=functools.partial(engine.folders.__setitem__, "temp"),
        )
        classes = {"Plain": Plain, "Out": Out, "SaveImageWebsocket": Out}
        self.features: Any = SimpleNamespace(SERVER_FEATURE_FLAGS={})
        install(
            Comfy(
                self.execution,
                self.paths,
                SimpleNamespace(NODE_CLASS_MAPPINGS=classes),
                SimpleNamespace(PromptServer=PromptServer),
                SimpleNamespace(logs=self.logs),
                self.features,
            )
        )
        self.executor: Any = PromptExecutor()

    def wipe(self) -> None:
        self.wiped += 1

    def run(self, extra: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> Any:
        """Run a prompt, and return the addition of the package to its history entry, or None."""
        self.executor.execute(nodes, "p", extra, [])
        return self.executor.history_result.get("comfy_edge")


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@pytest.fixture
def engine(tmp_path: Path) -> Generator[Engine]:
    (tmp_path / "out").mkdir()
    (tmp_path / "tmp").mkdir()
    yield Engine(tmp_path)


def asked(tmp_path: Path, scope: str = "s") -> dict[str, Any]:
    """`extra_data` of a job of `scope` whose folders exist."""
    shared = Folders(tmp_path / "in", tmp_path / "out", tmp_path / "tmp")
    job = ComfyFolders(tmp_path / "jobs", shared).for_scope(scope)
    job.prepare()
    return {"comfy_edge": job.request()}


def test_extension_announces_its_protocol_in_features(engine: Engine) -> None:
    assert engine.features.SERVER_FEATURE_FLAGS == {"comfy_edge": 1}


def test_only_its_own_prompt_is_validated_in_its_folders(engine: Engine, tmp_path: Path) -> None:
    extra = asked(tmp_path)

    async def post(body: Any) -> None:
        for handler in engine.server_class.instance.handlers:
            body = handler(body)
        await engine.execution.validate_prompt("p", {}, None)

    async def posts() -> None:
        await asyncio.create_task(post({"extra_data": extra}))
        await asyncio.create_task(post({}))

    asyncio.run(posts())
    assert engine.checked_in == [extra["comfy_edge"]["folders"]["input"], "shared-in"]
    assert engine.folders["input"] == "shared-in"


def test_prompt_runs_in_its_folders_and_its_history_lists_its_files(engine: Engine, tmp_path: Path) -> None:
    async def save(engine: Engine, _node: str) -> None:
        (Path(engine.paths.get_output_directory()) / "a.png").write_bytes(b"1")

    async def save_in_shared(_engine: Engine, _node: str) -> None:
        (tmp_path / "out" / "kept-path.png").write_bytes(b"1")

    engine.scripts = {"2": save, "3.1": save_in_shared}
    graph = {"1": node("Plain"), "2": node("Out"), "3.1": node("Plain")}
    report = engine.run(asked(tmp_path), graph)

    assert report["files"] == [
        {"type": "output", "path": "a.png", "node": "2"},
        {"type": "output", "path": "kept-path.png", "node": "3"},
    ]
    assert set(report["nodes"]) == {"2", "3"}
    assert engine.folders["output"] == str(tmp_path / "out")


def test_history_and_log_of_other_prompts_are_deleted_before_a_prompt(engine: Engine, tmp_path: Path) -> None:
    engine.run(asked(tmp_path), {})
    assert (engine.wiped, engine.logs) == (1, [])


def test_node_instances_live_as_long_as_their_scope(engine: Engine, tmp_path: Path) -> None:
    instances = engine.executor.caches.objects.cache
    for scope, kept in (("s", False), ("s", True), ("t", False)):
        extra = asked(tmp_path, scope)
        instances["k"] = "an instance"
        engine.run(extra, {})
        assert bool(instances) == kept
    instances["k"] = "an instance"
    assert engine.run({}, {}) is None
    assert instances == {}


def test_cache_key_limits_who_shares_a_result(engine: Engine, tmp_path: Path) -> None:
    graph = {"1": node("Plain", seed=1), "2": node("Plain", text="mine"), "3": node("Out", images=["1", 0])}
    engine.run(asked(tmp_path), graph)
    first = engine.keys
    engine.run(asked(tmp_path), graph)
    again = engine.keys
    assert first["1"] == again["1"] == ["computed"]
    assert first["2"] == again["2"] == [["computed"], ["scope", "s"]]
    assert first["3"] != again["3"]
    engine.run(asked(tmp_path, "t"), graph)
    assert engine.keys["2"] == [["computed"], ["scope", "t"]]


def test_cache_key_sent_by_a_client_is_dropped_and_none_is_saved(engine: Engine, tmp_path: Path) -> None:
    sent = {**node("Plain"), "is_changed": ["chosen"]}
    engine.run(asked(tmp_path), {"1": sent})
    assert engine.keys["1"] == ["computed"]
    assert "is_changed" not in sent


class Picture:
    """The part of a Pillow image that is used."""

    def save(self, path: Path, **options: object) -> None:
        path.write_text(str(options["format"]))


def test_only_images_of_a_websocket_saver_become_files(engine: Engine, tmp_path: Path) -> None:
    picture = Picture()

    async def send(engine: Engine, _node: str) -> None:
        server = engine.server_class.instance
        server.send_sync("progress", {"value": 1})
        server.send_sync(2, ("PNG", picture, None))
        server.send_sync(4, (("PNG", picture, None), {"node_id": "1"}))

    engine.scripts = {"1": send, "2": send}
    report = engine.run(asked(tmp_path), {"1": node("SaveImageWebsocket"), "2": node("Plain")})
    assert [file["path"] for file in report["files"]] == ["1.png"]
    assert [sent[0] for sent in engine.sent] == ["progress", 2, 4, "progress", 2, 4, "comfy_edge"]


def test_prompt_without_a_request_runs_unchanged(engine: Engine) -> None:
    sent = {**node("Plain", text="mine"), "is_changed": ["chosen"]}
    assert engine.run({}, {"1": sent}) is None
    assert engine.keys["1"] == ["chosen"]
