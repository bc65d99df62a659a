"""Which files to evict for a new one. Pure: nothing here reads a disk or a clock."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from worker_gpu.models.disk.file_index import KnownFile


@dataclass(frozen=True)
class Eviction:
    """Files to delete, least recently used first, before the new one fits."""

    files: tuple[KnownFile, ...]


@dataclass(frozen=True)
class NoRoom:
    """This many bytes are missing even when every file that may be evicted is."""

    missing: int


def plan_eviction(
    needed: int, free: int, reserve: int, known: Iterable[KnownFile], pinned: Collection[str], may_evict: bool = True
) -> Eviction | NoRoom:
    """The files to evict so that `needed` bytes fit and `reserve` bytes stay free, least recently used first. Never
    evicts pinned paths, nor links and files of the image, which free no space."""
    missing = needed + reserve - free
    if missing <= 0:
        return Eviction(())
    candidates = sorted(
        (one for one in known if may_evict and not one.linked and not one.baked and one.path not in pinned),
        key=lambda one: (one.used_s, -one.size, one.path),
    )
    chosen_files: list[KnownFile] = []
    for one in candidates:
        chosen_files.append(one)
        missing -= one.size
        if missing <= 0:
            return Eviction(_spare_unneeded(chosen_files, -missing))
    return NoRoom(missing)


def _spare_unneeded(chosen: Sequence[KnownFile], spare: int) -> tuple[KnownFile, ...]:
    """Keep small files that are not needed because the last file is large, the most recently used first."""
    kept: list[KnownFile] = []
    for one in reversed(chosen):
        if one.size <= spare:
            spare -= one.size
        else:
            kept.append(one)
    return tuple(reversed(kept))
