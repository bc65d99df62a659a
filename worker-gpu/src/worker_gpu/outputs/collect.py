"""Collects the outputs of one attempt. Uploads start while the workflow runs and finish after it has ended."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.history_status import WrittenFile
from worker_gpu.comfy.prompt_follower import Results
from worker_gpu.concurrency import run_all
from worker_gpu.errors import JobError
from worker_gpu.json_readers import JsonObject
from worker_gpu.outputs.files import MAX_HELD_BYTES, FileSource, LocalFile, measure
from worker_gpu.outputs.history_outputs import FileRef, ImageRef, ListedOutput, TextRef, file_at, list_outputs
from worker_gpu.outputs.kinds import TEXT
from worker_gpu.outputs.metadata_warnings import MetadataWarnings, Warn
from worker_gpu.outputs.output_discovery import OutputFinder, PendingOutput, comfyui_unreachable
from worker_gpu.outputs.texts import is_in_one_of, measure_text
from worker_gpu.outputs.upload import NamedFile, UploadSink
from worker_gpu.wire.contract import Limits, Output

OUTPUT_FOLDER = "output"
MAX_FETCHES = 4
"""Files fetched at the same time."""
MAX_CHECKS = 8
"""Files checked for changes at the same time."""


@dataclass(frozen=True)
class OutputOptions:
    """Which outputs the job wants, their limits, and whether files keep their metadata."""

    temp_outputs: bool
    limits: Limits
    metadata: bool


class Collector:
    """Call `on_node_output` each time a node lists outputs, then `finish` once. Its tasks run in `group`, which fails
    with the first of them. `image_path` returns a path for an image that a node sends over the WebSocket; None if such
    images are files. `emit` gets each output when it is stored, and again if its file was written again. `warn` gets
    warnings about outputs."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        source: FileSource,
        uploader: UploadSink,
        finder: OutputFinder,
        options: OutputOptions,
        spool: Callable[[str], LocalFile],
        image_path: Callable[[], Path] | None,
        emit: Callable[[Output], None],
        warn: Warn,
    ) -> None:
        self._group = group
        self._source = source
        self._uploader = uploader
        self._finder = finder
        self._options = options
        self._spool = spool
        self._image_path = image_path
        self._emit = emit
        self._metadata_warnings = MetadataWarnings(warn)
        self._pending: dict[str, PendingOutput] = {}
        self._duplicates: set[str] = set()
        self._image_counts: dict[str, int] = {}
        self._stored: dict[str, Output] = {}
        self._files: dict[str, NamedFile] = {}
        self._held_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        # asyncio.Lock is fair: outputs are named and stored in the order in which they are listed.
        self._naming = asyncio.Lock()
        self._is_last_check = False
        self._fetching = asyncio.Semaphore(MAX_FETCHES)
        self._checking = asyncio.Semaphore(MAX_CHECKS)
        self._listed_last: frozenset[str] = frozenset()

    def on_node_output(self, node: str, output: JsonObject) -> None:
        """Start storing the outputs that a node listed, except those it listed before."""
        self._start(self._add(list_outputs(node, output)))

    def on_node_image(self, node: str, content_type: str, image: bytes) -> None:
        """Store an image that a node sent over the WebSocket as its output. Does nothing if such images are files."""
        if self._image_path is None:
            return
        count = self._image_counts[node] = self._image_counts.get(node, 0) + 1
        extension = "png" if content_type == "image/png" else "jpg"
        self._start(self._add_image(node, ImageRef(self._image_path(), extension, count - 1), image))

    async def finish(self, results: Results) -> list[Output]:
        """All outputs of the job in the order they were found, once the latest content of each is stored. `results` is
        from the history. Raises `JobError` `output_missing`, `output_too_large`, `upload_failed`; `AttemptOver`."""
        self._source.run_ended(results.began_ms)
        self._listed_last = results.listed_last
        early = set(self._pending)
        self._start(self._add([each for node, output in results.listed for each in list_outputs(node, output)]))
        self._start(self._add(_written_outputs(results.written)))
        await self._drain()
        if not self._pending:
            raise self._finder.no_outputs_error()
        await self._store_changed(early & set(self._files))
        return [replace(self._stored[name], keys=item.keys) for name, item in self._pending.items()]

    def stored(self) -> tuple[Output, ...]:
        """The outputs stored so far, in the order they were found."""
        return tuple(self._stored[name] for name in self._pending if name in self._stored)

    async def upload_again(self, names: Iterable[str]) -> bool:
        """Upload these outputs again because R2 lacks them; False if one of them is unknown."""
        files = [self._files[name] for name in names if name in self._files]
        if not files or len(files) != len(set(names)):
            return False
        await self._uploader.put(files, lambda _named, _key: None)
        return True

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = self._group.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)

    async def _add(self, listed: list[ListedOutput]) -> None:
        """Store the outputs in `listed` that are new."""
        async with self._naming:
            new: list[PendingOutput] = []
            for each in listed:
                item = await self._finder.resolve(each)
                if item is None or item.name in self._duplicates:
                    continue
                known = self._pending.get(item.name)
                if known is None:
                    self._pending[item.name] = item
                    new.append(item)
                else:
                    self._pending[item.name] = replace(known, keys=known.keys | item.keys)
        if new:
            await self._store_items(new)

    async def _add_image(self, node: str, ref: ImageRef, image: bytes) -> None:
        await asyncio.to_thread(ref.path.write_bytes, image)
        await self._add([ListedOutput(node, "", ref)])

    async def _store_items(self, items: list[PendingOutput]) -> None:
        max_outputs = self._options.limits.max_outputs
        if 0 < max_outputs < len(self._pending):
            raise JobError("output_too_large", f"The workflow has more than {max_outputs} outputs.")
        files: list[NamedFile] = []
        fetched = dict(await run_all(self._fetch(item, item.ref) for item in items if isinstance(item.ref, FileRef)))
        for item in items:
            if isinstance(item.ref, TextRef):
                beside = [fetched[other.name] for other in items if other.node == item.node and other.name in fetched]
                if await asyncio.to_thread(is_in_one_of, beside, item.ref.text):
                    # The node saves the text as a file and lists it too.
                    del self._pending[item.name]
                    self._duplicates.add(item.name)
                    continue
                if self._store_inline(item, item.ref.text):
                    continue
                file = await asyncio.to_thread(self._spool, item.ref.text)
            elif isinstance(item.ref, ImageRef):
                file = await asyncio.to_thread(measure, item.ref.path, item.name)
            else:
                file = fetched[item.name]
            self._check_size(item.name, file.size_bytes)
            stored = self._stored.get(item.name)
            if stored is None or stored.sha256 != file.sha256:
                files.append(NamedFile(item.name, file))
            elif item.name in self._files:
                self._files[item.name] = NamedFile(item.name, file.released())
        self._files.update({named.name: NamedFile(named.name, named.file.released()) for named in files})
        try:
            await self._uploader.put(files, self._uploaded)
        except JobError:
            # The upload of a file that is still being written may fail. The last check stores it.
            if self._is_last_check or not await self._changed({named.name for named in files}):
                raise
        finally:
            self._held_bytes -= sum(len(file.content or b"") for file in fetched.values())

    async def _store_changed(self, early: set[str]) -> None:
        """Check the files that were stored while the workflow ran, because a node may have written them again."""
        self._is_last_check = True
        changed = await self._changed(early) | {name for name in self._pending if name not in self._stored}
        if changed:
            await self._store_items([item for name, item in self._pending.items() if name in changed])

    async def _changed(self, names: set[str]) -> set[str]:
        async def is_changed(name: str) -> tuple[str, bool]:
            ref = self._pending[name].ref
            if not isinstance(ref, FileRef):
                return name, False
            ran_after = self._pending[name].node not in self._listed_last
            async with self._checking:
                return name, await self._source.is_changed(ref, self._files[name].file, ran_after)

        try:
            return {name for name, changed in await run_all(is_changed(name) for name in names) if changed}
        except ComfyUnreachable as error:
            raise comfyui_unreachable() from error

    def _store_inline(self, item: PendingOutput, text: str) -> bool:
        if len(text.encode("utf-8", "replace")) > self._options.limits.max_text_bytes:
            return False
        size, sha256, clean = measure_text(text)
        self._store(
            Output(
                item.name,
                item.node,
                self._finder.class_of(item.node),
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

    async def _fetch(self, item: PendingOutput, ref: FileRef) -> tuple[str, LocalFile]:
        """The name of the output and its file."""
        try:
            async with self._fetching:
                file = await self._source.fetch(ref)
        except ComfyUnreachable as error:
            raise comfyui_unreachable() from error
        if file is None:
            raise self._finder.missing_file_error(item.node, item.name)
        size = len(file.content or b"")
        if file.path is not None and self._held_bytes + size > MAX_HELD_BYTES:
            return item.name, file.released()
        self._held_bytes += size
        return item.name, file

    def _uploaded(self, named: NamedFile, key: str) -> None:
        item, file = self._pending[named.name], named.file
        self._metadata_warnings.check(named)
        self._store(
            Output(
                named.name,
                item.node,
                self._finder.class_of(item.node),
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
        max_bytes = self._options.limits.max_output_bytes
        if 0 < max_bytes < size_bytes:
            raise JobError("output_too_large", f"The output {name} is larger than {max_bytes} bytes.")


def _written_outputs(written: Iterable[WrittenFile]) -> list[ListedOutput]:
    """The files written to the output folder, listed or not. A file in temp is an output only if a node lists it."""
    refs = ((file.node, file_at(file.path, file.folder)) for file in written if file.folder == OUTPUT_FOLDER)
    return [ListedOutput(node, "", ref) for node, ref in refs if ref is not None]
