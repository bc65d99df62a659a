"""One running prompt: switches ComfyUI to its folders, times its nodes, records its files."""

import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from .cache_keys import CacheKeys
from .request import Request
from .sent_images import SentImages
from .written_files import Root, WrittenFiles


class FolderPaths(Protocol):
    """The functions of ComfyUI's module `folder_paths` that are used."""

    def get_input_directory(self) -> str: ...
    def get_output_directory(self) -> str: ...
    def get_temp_directory(self) -> str: ...
    def set_input_directory(self, input_dir: str) -> None: ...
    def set_output_directory(self, output_dir: str) -> None: ...
    def set_temp_directory(self, temp_dir: str) -> None: ...


class Run:
    """One execution of a prompt. `token` is unique in this process."""

    def __init__(self, request: Request, token: str, keys: CacheKeys, shared: "tuple[Root, ...]") -> None:
        self.request = request
        self.token = token
        self.class_type: str | None = None
        self.node: str = ""
        self._keys = keys
        self._written = WrittenFiles((Root("output", request.output), Root("temp", request.temp), *shared))
        self._images = SentImages(request.output)
        self._ms: dict[str, float] = {}
        self._executed: set[str] = set()

    @contextmanager
    def at_node(self, display_id: str, class_type: str) -> "Generator[None, None, None]":
        """Inside the body, the node `display_id` of the workflow, or a node that it expands to, is running."""
        before, self.node, self.class_type = (self.node, self.class_type), display_id, class_type
        began = time.perf_counter()
        try:
            yield
        finally:
            self._ms[display_id] = self._ms.get(display_id, 0.0) + (time.perf_counter() - began) * 1000
            if self._written.attribute(display_id):
                self._keys.on_file_written(class_type)
            self.node, self.class_type = before

    def executed(self, display_id: str) -> None:
        """The node was executed, and not answered from ComfyUI's cache."""
        self._executed.add(display_id)

    def on_image(self, image_format: str, image: Any) -> None:
        """The running node sent an image as its output."""
        self._images.save(self.node, image_format, image)

    def report(self) -> "dict[str, Any]":
        """The addition to the history entry of the prompt (docs/reference/worker.md)."""
        times = {node: {"ms": round(ms, 1)} for node, ms in self._ms.items() if node in self._executed}
        return {"files": self._written.report(), "nodes": times}


@contextmanager
def folders_of(request: Request, paths: FolderPaths) -> "Generator[None, None, None]":
    """Inside the body, ComfyUI uses the folders of the prompt."""
    before = paths.get_input_directory(), paths.get_output_directory(), paths.get_temp_directory()
    _set(paths, (request.input, request.output, request.temp))
    try:
        yield
    finally:
        _set(paths, before)


@contextmanager
def process_state(scratch: str) -> "Generator[None, None, None]":
    """Inside the body, temporary files of the system go to `scratch`. After it, environment and working folder are
    restored."""
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
