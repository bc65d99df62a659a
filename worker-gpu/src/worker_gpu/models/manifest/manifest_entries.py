"""How a push or a removal changes the manifest. Pure: nothing here accesses the bucket."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import FromBucket, Manifest, ModelFile


@dataclass(frozen=True)
class PushEntry:
    """The options of a file to push. None keeps the value of the manifest; a new file has no group and priority 0."""

    path: str
    groups: tuple[str, ...] | None = None
    priority: int | None = None
    allow_unsafe: bool = False


def apply_entry(entry: PushEntry, file: ModelFile, previous: ModelFile | None) -> ModelFile:
    """`file` with the groups and the priority of `entry`, or else those of the `previous` manifest entry."""
    groups = entry.groups if entry.groups is not None else previous.groups if previous is not None else ()
    priority = entry.priority if entry.priority is not None else previous.priority if previous is not None else 0
    return replace(file, groups=groups, priority=priority)


def is_stored_elsewhere(file: ModelFile, previous: ModelFile | None) -> bool:
    """Whether the manifest has the same content from a source other than the bucket."""
    return previous is not None and previous.sha256 == file.sha256 and not isinstance(previous.source, FromBucket)


def replaces_object(file: ModelFile, previous: ModelFile | None) -> bool:
    """Whether the object of `file` makes reads by the `previous` entry fail."""
    return previous is not None and (previous.sha256, previous.source) != (file.sha256, file.source)


def with_entries(manifest: Manifest, files: Iterable[ModelFile]) -> Manifest:
    """`manifest` with `files` added or replaced."""
    return Manifest.of(list({**manifest.files, **{file.path: file for file in files}}.values()))


def with_pushed(manifest: Manifest, pushed: Iterable[tuple[PushEntry, ModelFile]]) -> Manifest:
    """`manifest` with the pushed files, each with its options applied."""
    return with_entries(manifest, [apply_entry(entry, file, manifest.files.get(file.path)) for entry, file in pushed])


def without_entries(manifest: Manifest, paths: Sequence[str]) -> Manifest:
    """`manifest` without `paths`. Raises `ModelError` model_unknown."""
    for path in paths:
        if path not in manifest.files:
            raise ModelError("model_unknown", f"{path} is not in the manifest", path)
    return Manifest.of([file for path, file in manifest.files.items() if path not in paths])
