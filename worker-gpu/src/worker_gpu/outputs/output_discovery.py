"""Decides which listed outputs belong to the job, and gives each its file and its name."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.errors import JobError, NodeRef
from worker_gpu.outputs.files import FileSource
from worker_gpu.outputs.history_outputs import FileRef, ImageRef, ListedOutput, PathRef, TextRef
from worker_gpu.outputs.kinds import kind_of
from worker_gpu.outputs.names import TEMP_FOLDER, Names


@dataclass(frozen=True)
class PendingOutput:
    """An output to store: its name in the job, its source, and the keys that list it."""

    name: str
    node: str
    keys: frozenset[str]
    temp: bool
    ref: FileRef | TextRef | ImageRef


class OutputFinder:
    """Finds the outputs of one job. `classes` maps the nodes of the workflow to their classes."""

    def __init__(self, source: FileSource, names: Names, classes: Mapping[str, str], temp_outputs: bool) -> None:
        self._source = source
        self._names = names
        self._classes = classes
        self._temp_outputs = temp_outputs
        self._has_previews = False

    async def resolve(self, listed: ListedOutput) -> PendingOutput | None:
        """The output to store for `listed`; None if it is not an output of this job. Raises `JobError`."""
        node, found, keys = listed.node, listed.ref, frozenset({listed.key} - {""})
        if isinstance(found, TextRef):
            return PendingOutput(self._names.of_text(node, found), node, keys, temp=False, ref=found)
        if isinstance(found, ImageRef):
            return PendingOutput(self._names.of_image(node, found), node, keys, temp=False, ref=found)
        ref = await self._place(node, found) if isinstance(found, PathRef) else found
        if ref is None:
            return None
        # A model that a 3D node shows is an output in any folder. Its background image is not.
        is_model = isinstance(found, PathRef) and kind_of(b"", ref.filename).type == "3d"
        temp = ref.folder == TEMP_FOLDER and not is_model
        if temp and not self._temp_outputs:
            self._has_previews = True
            return None
        if not await self._belongs_to_run(ref, isinstance(found, FileRef) or found.required):
            return None
        return PendingOutput(self._names.of_file(ref, temp), node, keys, temp, ref)

    async def _belongs_to_run(self, ref: FileRef, certain: bool) -> bool:
        try:
            return await self._source.belongs_to_run(ref, certain)
        except ComfyUnreachable as error:
            raise comfyui_unreachable() from error

    def class_of(self, node: str) -> str:
        """The class of a node; empty for a node that is not in the workflow."""
        return self._classes.get(node, "")

    def missing_file_error(self, node: str, name: str) -> JobError:
        """The error for a file that a node listed and that does not exist."""
        whose = NodeRef(node, self.class_of(node))
        return JobError("output_missing", f"ComfyUI listed the file {name}, which does not exist.", node=whose)

    def no_outputs_error(self) -> JobError:
        """The error for a workflow that produced no output."""
        more = " It produced only previews. Set options.temp_outputs to get them." if self._has_previews else ""
        return JobError("output_missing", f"The workflow ran and produced no output.{more}")

    async def _place(self, node: str, path: PathRef) -> FileRef | None:
        try:
            ref = await self._source.resolve(path)
        except ComfyUnreachable as error:
            raise comfyui_unreachable() from error
        if ref is None and path.required:
            raise self.missing_file_error(node, path.posix.rpartition("/")[2])
        return ref


def comfyui_unreachable() -> JobError:
    """The error for outputs that cannot be read because ComfyUI does not answer."""
    return JobError("comfyui_unavailable", "ComfyUI stopped answering while its outputs were read.")
