"""From what a node listed to what is brought in: the file it means, its name in the job, and whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.errors import JobError, NodeRef
from worker_gpu.outputs.files import Source
from worker_gpu.outputs.history_outputs import FileRef, Listed, PathRef, PictureRef, TextRef
from worker_gpu.outputs.kinds import kind_of
from worker_gpu.outputs.names import TEMP_FOLDER, Names


@dataclass(frozen=True)
class Item:
    """Something to bring in: where it comes from, what it is called, and the keys of outputs that list it."""

    name: str
    node: str
    keys: frozenset[str]
    temp: bool
    ref: FileRef | TextRef | PictureRef


class Finder:
    """What counts as an output of one job, whose graph's nodes have the classes `classes`."""

    def __init__(self, source: Source, names: Names, classes: Mapping[str, str], temp_outputs: bool) -> None:
        self._source = source
        self._names = names
        self._classes = classes
        self._temp_outputs = temp_outputs
        self._has_previews = False

    async def item(self, listed: Listed) -> Item | None:
        """What a node listed, as something to bring in; None where it is not an output. Raises `JobError`."""
        node, found, keys = listed.node, listed.found, frozenset({listed.key} - {""})
        if isinstance(found, TextRef):
            return Item(self._names.of_text(node, found), node, keys, temp=False, ref=found)
        if isinstance(found, PictureRef):
            return Item(self._names.of_picture(node, found), node, keys, temp=False, ref=found)
        ref = await self._place(node, found) if isinstance(found, PathRef) else found
        if ref is None:
            return None
        # A model that a 3D node shows is its result, wherever it lies; the picture behind it is none.
        is_model = isinstance(found, PathRef) and kind_of(b"", ref.filename).type == "3d"
        temp = ref.folder == TEMP_FOLDER and not is_model
        if temp and not self._temp_outputs:
            self._has_previews = True
            return None
        if not await self._is_of_this_run(ref, isinstance(found, FileRef) or found.needed):
            return None
        return Item(self._names.of_file(ref, temp), node, keys, temp, ref)

    async def _is_of_this_run(self, ref: FileRef, certain: bool) -> bool:
        try:
            return await self._source.is_of_this_run(ref, certain)
        except ComfyUnreachable as error:
            raise unreachable() from error

    def class_of(self, node: str) -> str:
        """The node's class; empty for one that the graph does not have."""
        return self._classes.get(node, "")

    def missing(self, node: str, name: str) -> JobError:
        """The error of a file that a node listed and that is not there."""
        whose = NodeRef(node, self.class_of(node))
        return JobError("output_missing", f"ComfyUI listed the file {name}, which is not there.", node=whose)

    def nothing(self) -> JobError:
        """The error of a graph without an output."""
        more = " It gave previews only: set options.temp_outputs to have them." if self._has_previews else ""
        return JobError("output_missing", f"The graph ran and gave no output.{more}")

    async def _place(self, node: str, path: PathRef) -> FileRef | None:
        try:
            ref = await self._source.place(path)
        except ComfyUnreachable as error:
            raise unreachable() from error
        if ref is None and path.needed:
            raise self.missing(node, path.slashed.rpartition("/")[2])
        return ref


def unreachable() -> JobError:
    """The error of outputs that cannot be had since ComfyUI is silent."""
    return JobError("comfyui_unavailable", "ComfyUI stopped answering while outputs were read.")
