"""One prompt at work: its folders in force, its nodes timed, its files noted."""

import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from .cache_keys import CacheKeys
from .request import Request
from .sent_pictures import SentPictures
from .written import Root, Written


class FolderPaths(Protocol):
    """ComfyUI's module `folder_paths`, as far as it is used."""

    def get_input_directory(self) -> str: ...
    def get_output_directory(self) -> str: ...
    def get_temp_directory(self) -> str: ...
    def set_input_directory(self, input_dir: str) -> None: ...
    def set_output_directory(self, output_dir: str) -> None: ...
    def set_temp_directory(self, temp_dir: str) -> None: ...


class Run:
    """`token` is different in every execution of this process."""

    def __init__(self, request: Request, token: str, keys: CacheKeys, shared: "tuple[Root, ...]") -> None:
        self.request = request
        self.token = token
        self.class_type: str | None = None
        self.node: str = ""
        self._keys = keys
        self._written = Written((Root("output", request.output), Root("temp", request.temp), *shared))
        self._pictures = SentPictures(request.output)
        self._ms: dict[str, float] = {}
        self._executed: set[str] = set()

    @contextmanager
    def at_node(self, shown_as: str, class_type: str) -> "Generator[None, None, None]":
        """The node `shown_as` of the graph, or one that it was expanded to, is at work."""
        before, self.node, self.class_type = (self.node, self.class_type), shown_as, class_type
        began = time.perf_counter()
        try:
            yield
        finally:
            self._ms[shown_as] = self._ms.get(shown_as, 0.0) + (time.perf_counter() - began) * 1000
            if self._written.look(shown_as):
                self._keys.wrote(class_type)
            self.node, self.class_type = before

    def executed(self, shown_as: str) -> None:
        """The node did not come out of ComfyUI's cache."""
        self._executed.add(shown_as)

    def sent(self, form: str, picture: Any) -> None:
        """The node at work sent a picture as its result."""
        self._pictures.keep(self.node, form, picture)

    def report(self) -> "dict[str, Any]":
        """What the history tells of the prompt beside ComfyUI's own (docs/reference/worker.md)."""
        times = {node: {"ms": round(ms, 1)} for node, ms in self._ms.items() if node in self._executed}
        return {"files": self._written.report(), "nodes": times}


@contextmanager
def folders_of(request: Request, paths: FolderPaths) -> "Generator[None, None, None]":
    """ComfyUI's folders are the prompt's inside the body."""
    before = paths.get_input_directory(), paths.get_output_directory(), paths.get_temp_directory()
    _set(paths, (request.input, request.output, request.temp))
    try:
        yield
    finally:
        _set(paths, before)


@contextmanager
def process_state(scratch: str) -> "Generator[None, None, None]":
    """Temporary files of the system's kind go to `scratch` inside the body; environment and working folder are after it
    what they were before."""
    variables, folder, temporary = dict(os.environ), Path.cwd(), tempfile.tempdir
    tempfile.tempdir = scratch
    os.environ["TMPDIR"] = scratch
    try:
        yield
    finally:
        tempfile.tempdir = temporary
        if dict(os.environ) != variables:
            os.environ.clear()
            os.environ.update(variables)
        if Path.cwd() != folder:
            os.chdir(folder)


def _set(paths: FolderPaths, folders: "tuple[str, str, str]") -> None:
    paths.set_input_directory(folders[0])
    paths.set_output_directory(folders[1])
    paths.set_temp_directory(folders[2])
