"""Warnings of a job with `options.metadata: false` about files that keep their metadata."""

from collections.abc import Callable

from worker_gpu.outputs.strip_metadata.strip import StripResult
from worker_gpu.outputs.upload import NamedFile

METADATA_NOT_REMOVED = "metadata_not_removed"
"""Code of the warning. Clients match it: docs/reference/worker.md, "Metadata"."""

Warn = Callable[[str, str], None]
"""Gets the code and the text of a warning."""


class MetadataWarnings:
    """Warns once for each content type that is not supported, and once for each that comes damaged."""

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._warned: set[tuple[StripResult, str]] = set()

    def check(self, named: NamedFile) -> None:
        """Warn about an output if its file kept its metadata."""
        result, content_type = named.file.strip_result, named.file.kind.content_type
        if result not in (StripResult.NOT_SUPPORTED, StripResult.DAMAGED) or (result, content_type) in self._warned:
            return
        self._warned.add((result, content_type))
        if result is StripResult.NOT_SUPPORTED:
            text = (
                f"options.metadata: false is not supported for {content_type}. {named.name} and other outputs of this "
                "type may contain the workflow."
            )
        else:
            text = (
                f"options.metadata: false had no effect on {named.name}, which is damaged. It may contain the workflow."
            )
        self._warn(METADATA_NOT_REMOVED, text)
