"""Collects the outputs of one attempt: uploads start while the graph runs, the rest follows when it has ended."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.follow import Results
from worker_gpu.comfy.sight import WrittenFile
from worker_gpu.contract import Limits, Output
from worker_gpu.errors import JobError
from worker_gpu.outputs.files import MAX_HELD_BYTES, LocalFile, Source, measure
from worker_gpu.outputs.history_outputs import FileRef, ListedOutput, PictureRef, TextRef, file_at, list_outputs
from worker_gpu.outputs.kinds import TEXT
from worker_gpu.outputs.metadata_warnings import MetadataWarnings, Warn
from worker_gpu.outputs.output_discovery import OutputFinder, PendingOutput, comfyui_unreachable
from worker_gpu.outputs.texts import is_in_one_of, measure_text
from worker_gpu.outputs.upload import NamedFile, Sink
from worker_gpu.shape import JsonObject
from worker_gpu.together import together

OUTPUT_FOLDER = "output"
MAX_FETCHES = 4
"""So many files at a time are brought in."""
MAX_LOOKS = 8
"""So many files at a time are asked for whether they have changed."""


@dataclass(frozen=True)
class Wishes:
    """What counts as a result of this job, and whether files keep the graph that ComfyUI wrote into them."""

    temp_outputs: bool
    limits: Limits
    metadata: bool


class Collector:
    """Call `showed` for each node as it lists outputs, then `finish` once. Tasks live in `group`, which fails with the
    first of them. `keep_picture` gives a place for a picture that a node sends; None where those come as files. `emit`
    gets each output as soon as it is stored, and again where its file was written again. `warn` gets warnings about
    the outputs."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        source: Source,
        uploader: Sink,
        finder: OutputFinder,
        wishes: Wishes,
        spool: Callable[[str], LocalFile],
        keep_picture: Callable[[], Path] | None,
        emit: Callable[[Output], None],
        warn: Warn,
    ) -> None:
        self._group = group
        self._source = source
        self._uploader = uploader
        self._finder = finder
        self._wishes = wishes
        self._spool = spool
        self._keep_picture = keep_picture
        self._emit = emit
        self._metadata_warnings = MetadataWarnings(warn)
        self._taken: dict[str, PendingOutput] = {}
        self._repeated: set[str] = set()
        self._sent: dict[str, int] = {}
        self._stored: dict[str, Output] = {}
        self._files: dict[str, NamedFile] = {}
        self._held_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        # Fair: what is listed first is named and kept first.
        self._naming = asyncio.Lock()
        self._ending = False
        self._fetching = asyncio.Semaphore(MAX_FETCHES)
        self._looking = asyncio.Semaphore(MAX_LOOKS)
        self._listed_last: frozenset[str] = frozenset()

    def showed(self, node: str, output: JsonObject) -> None:
        """A node listed outputs: begin to bring them in. What was listed before is passed over."""
        self._begin(self._take(list_outputs(node, output)))

    def sent(self, node: str, content_type: str, picture: bytes) -> None:
        """A node sent a picture as its result. Does nothing where such pictures come as files."""
        if self._keep_picture is None:
            return
        count = self._sent[node] = self._sent.get(node, 0) + 1
        extension = "png" if content_type == "image/png" else "jpg"
        self._begin(self._take_sent(node, PictureRef(self._keep_picture(), extension, count - 1), picture))

    async def finish(self, results: Results) -> list[Output]:
        """All outputs of the job as they are now, in the order they were found, once they are stored. `results` is what
        the history says. Raises `JobError` `output_missing`, `output_too_large`, `upload_failed`; `AttemptOver`."""
        self._source.ended(results.began_ms)
        self._listed_last = results.listed_last
        early = set(self._taken)
        self._begin(self._take([each for node, output in results.listed for each in list_outputs(node, output)]))
        self._begin(self._take(_unlisted(results.written)))
        await self._settled()
        if not self._taken:
            raise self._finder.no_outputs_error()
        await self._look_again(early & set(self._files))
        return [replace(self._stored[name], keys=item.keys) for name, item in self._taken.items()]

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

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settled(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)

    async def _take(self, listed: list[ListedOutput]) -> None:
        """Bring in what is new of `listed`."""
        async with self._naming:
            fresh: list[PendingOutput] = []
            for each in listed:
                item = await self._finder.resolve(each)
                if item is None or item.name in self._repeated:
                    continue
                taken = self._taken.get(item.name)
                if taken is None:
                    self._taken[item.name] = item
                    fresh.append(item)
                else:
                    self._taken[item.name] = replace(taken, keys=taken.keys | item.keys)
        if fresh:
            await self._bring_in(fresh)

    async def _take_sent(self, node: str, ref: PictureRef, picture: bytes) -> None:
        await asyncio.to_thread(ref.path.write_bytes, picture)
        await self._take([ListedOutput(node, "", ref)])

    async def _bring_in(self, items: list[PendingOutput]) -> None:
        most = self._wishes.limits.max_outputs
        if 0 < most < len(self._taken):
            raise JobError("output_too_large", f"The graph gave more than {most} outputs.")
        files: list[NamedFile] = []
        brought = await together(self._fetch(item, item.ref) for item in items if isinstance(item.ref, FileRef))
        fetched = dict(brought)
        for item in items:
            if isinstance(item.ref, TextRef):
                beside = [fetched[other.name] for other in items if other.node == item.node and other.name in fetched]
                if await asyncio.to_thread(is_in_one_of, beside, item.ref.text):
                    # A node that saves a text, and lists it as well.
                    del self._taken[item.name]
                    self._repeated.add(item.name)
                    continue
                if self._kept_inline(item, item.ref.text):
                    continue
                file = await asyncio.to_thread(self._spool, item.ref.text)
            elif isinstance(item.ref, PictureRef):
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
            # A file that is being written has no upload that fits; the last look brings it in.
            if self._ending or not await self._changed({named.name for named in files}):
                raise
        finally:
            self._held_bytes -= sum(len(file.content or b"") for file in fetched.values())

    async def _look_again(self, early: set[str]) -> None:
        """The last look at files that came in while the graph ran: a node may have gone on writing them."""
        self._ending = True
        changed = await self._changed(early) | {name for name in self._taken if name not in self._stored}
        if changed:
            await self._bring_in([item for name, item in self._taken.items() if name in changed])

    async def _changed(self, names: set[str]) -> set[str]:
        async def is_changed(name: str) -> tuple[str, bool]:
            ref = self._taken[name].ref
            if not isinstance(ref, FileRef):
                return name, False
            ran_after = self._taken[name].node not in self._listed_last
            async with self._looking:
                return name, await self._source.is_changed(ref, self._files[name].file, ran_after)

        try:
            return {name for name, changed in await together(is_changed(name) for name in names) if changed}
        except ComfyUnreachable as error:
            raise comfyui_unreachable() from error

    def _kept_inline(self, item: PendingOutput, text: str) -> bool:
        if len(text.encode("utf-8", "replace")) > self._wishes.limits.max_text_bytes:
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
        """The item's name and its file."""
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
        item, file = self._taken[named.name], named.file
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
        most = self._wishes.limits.max_output_bytes
        if 0 < most < size_bytes:
            raise JobError("output_too_large", f"The output {name} is larger than {most} bytes.")


def _unlisted(written: Iterable[WrittenFile]) -> list[ListedOutput]:
    """What was written to the output folder, listed by a node or not. What lies in temp is a result only if listed."""
    refs = ((file.node, file_at(file.path, file.folder)) for file in written if file.folder == OUTPUT_FOLDER)
    return [ListedOutput(node, "", ref) for node, ref in refs if ref is not None]
