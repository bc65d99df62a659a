"""Collects the outputs of one attempt: uploads start while the graph runs, the rest follows when it has ended."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from worker_gpu.comfy.client import ComfyUnreachable
from worker_gpu.contract import Limits, Output
from worker_gpu.errors import JobError, NodeRef
from worker_gpu.outputs.files import LocalFile, Source
from worker_gpu.outputs.kinds import TEXT
from worker_gpu.outputs.names import TEMP_FOLDER, Names
from worker_gpu.outputs.texts import measure_text
from worker_gpu.outputs.upload import NamedFile, Sink
from worker_gpu.outputs.walk import FileRef, TextRef, walk
from worker_gpu.shape import JsonObject


@dataclass(frozen=True)
class Wishes:
    """What counts as a result of this job, and whether files keep the graph that ComfyUI wrote into them."""

    temp_outputs: bool
    limits: Limits
    metadata: bool


@dataclass(frozen=True)
class _Item:
    """Something to bring in: where it comes from and what it is called."""

    name: str
    node: str
    temp: bool
    ref: FileRef | TextRef


class Collector:
    """Call `showed` for each node as it lists outputs, then `finish` once. Tasks live in `group`, which fails with the
    first of them. `emit` gets each output as soon as it is stored."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        source: Source,
        uploader: Sink,
        names: Names,
        classes: Mapping[str, str],
        prefixes: Mapping[str, str],
        wishes: Wishes,
        spool: Callable[[str], LocalFile],
        emit: Callable[[Output], None],
    ) -> None:
        self._group = group
        self._source = source
        self._uploader = uploader
        self._names = names
        self._classes = classes
        self._prefixes = prefixes
        self._wishes = wishes
        self._spool = spool
        self._emit = emit
        self._taken: dict[str, _Item] = {}
        self._stored: dict[str, Output] = {}
        self._files: dict[str, NamedFile] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def showed(self, node: str, output: JsonObject) -> None:
        """A node listed outputs: begin to bring them in. What was listed before is passed over."""
        self._begin([item for found in walk(output) if (item := self._item(node, found)) is not None])

    async def finish(self, listed: Iterable[tuple[str, JsonObject]]) -> list[Output]:
        """All outputs of the job, in the order they were found, once they are stored. `listed` is what the history
        says. Raises `JobError` `output_missing`, `output_too_large`, `upload_failed`; `AttemptOver`."""
        for node, output in listed:
            self.showed(node, output)
        for ref in await self._source.scan():
            item = self._item(self._saver_of(ref), ref)
            if item is not None:
                self._begin([item])
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        if not self._taken:
            raise JobError("output_missing", "The graph ran and gave no output.")
        return [self._stored[name] for name in self._taken]

    def stored(self) -> tuple[Output, ...]:
        """The outputs stored so far, in the order they were found."""
        return tuple(self._stored[name] for name in self._taken if name in self._stored)

    async def upload_again(self, names: Iterable[str]) -> bool:
        """Upload these outputs once more, since R2 lacks them; False when one of them is none of ours."""
        files = [self._files[name] for name in names if name in self._files]
        if not files or len(files) != len(set(names)):
            return False
        await self._uploader.put(files, lambda _named, _key: None)
        return True

    def _item(self, node: str, found: FileRef | TextRef) -> _Item | None:
        if isinstance(found, TextRef):
            item = _Item(self._names.of_text(node, found), node, temp=False, ref=found)
        else:
            temp = found.folder == TEMP_FOLDER
            if temp and not self._wishes.temp_outputs:
                return None
            item = _Item(self._names.of_file(found), node, temp, found)
        return None if item.name in self._taken else item

    def _begin(self, items: list[_Item]) -> None:
        fresh = [item for item in items if item.name not in self._taken]
        if not fresh:
            return
        self._taken.update({item.name: item for item in fresh})
        most = self._wishes.limits.max_outputs
        task = self._group.create_task(self._bring_in(fresh, too_many=0 < most < len(self._taken)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring_in(self, items: list[_Item], too_many: bool) -> None:
        if too_many:
            raise JobError("output_too_large", f"The graph gave more than {self._wishes.limits.max_outputs} outputs.")
        files: list[NamedFile] = []
        for item in items:
            if isinstance(item.ref, TextRef):
                if self._kept_inline(item, item.ref.text):
                    continue
                file = await asyncio.to_thread(self._spool, item.ref.text)
            else:
                file = await self._fetch(item, item.ref)
            self._check_size(item.name, file.size_bytes)
            files.append(NamedFile(item.name, file))
        self._files.update({named.name: named for named in files})
        await self._uploader.put(files, self._uploaded)

    def _kept_inline(self, item: _Item, text: str) -> bool:
        if len(text.encode("utf-8", "replace")) > self._wishes.limits.max_text_bytes:
            return False
        size, sha256, clean = measure_text(text)
        self._store(
            Output(
                item.name,
                item.node,
                self._class_of(item.node),
                "text",
                TEXT.content_type,
                size,
                sha256,
                None,
                False,
                clean,
            )
        )
        return True

    async def _fetch(self, item: _Item, ref: FileRef) -> LocalFile:
        try:
            file = await self._source.fetch(ref)
        except ComfyUnreachable as error:
            raise JobError("comfyui_unavailable", "ComfyUI stopped answering while outputs were read.") from error
        if file is None:
            node = NodeRef(item.node, self._class_of(item.node))
            raise JobError("output_missing", f"ComfyUI listed the file {item.name}, which is not there.", node=node)
        return file

    def _uploaded(self, named: NamedFile, key: str) -> None:
        item, file = self._taken[named.name], named.file
        self._store(
            Output(
                named.name,
                item.node,
                self._class_of(item.node),
                file.kind.type,
                file.kind.content_type,
                file.size_bytes,
                file.sha256,
                key,
                item.temp,
            )
        )

    def _store(self, output: Output) -> None:
        self._stored[output.name] = output
        self._emit(output)

    def _check_size(self, name: str, size_bytes: int) -> None:
        most = self._wishes.limits.max_output_bytes
        if 0 < most < size_bytes:
            raise JobError("output_too_large", f"The output {name} is larger than {most} bytes.")

    def _class_of(self, node: str) -> str:
        return self._classes.get(node, "")

    def _saver_of(self, ref: FileRef) -> str:
        """The node whose prefix the path of an unlisted file begins with; none where prefixes hold %words%."""
        below = ref.path.partition("/")[2]
        fitting = [node for node, prefix in self._prefixes.items() if below.startswith(prefix)]
        return max(fitting, key=lambda node: len(self._prefixes[node]), default="")
