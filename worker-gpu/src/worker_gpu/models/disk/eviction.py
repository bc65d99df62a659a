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
    """How `need` bytes fit with `reserve` bytes left free: the least recently used go first, never what is `pinned`.
    A link frees nothing and stays, as does what is part of the image."""
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
    """Small old files that the last, bigger one made needless stay, the most recently used first."""
    kept: list[KnownFile] = []
    for one in reversed(chosen):
        if one.size <= spare:
            spare -= one.size
        else:
            kept.append(one)
    return tuple(reversed(kept))
