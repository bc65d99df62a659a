"""Which files to evict for a new one. Pure: nothing here reads a disk or a clock."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from worker_gpu.models.disk.file_index import Held


@dataclass(frozen=True)
class Room:
    """Files to delete, least recently used first, before the new one fits."""

    evict: tuple[Held, ...]


@dataclass(frozen=True)
class NoRoom:
    """This many bytes are missing even when every file that may be evicted is."""

    lacking: int


def make_room(
    need: int, free: int, reserve: int, held: Iterable[Held], pinned: Collection[str], may_evict: bool = True
) -> Room | NoRoom:
    """How `need` bytes fit with `reserve` bytes left free: the least recently used go first, never what is `pinned`.
    A link frees nothing and stays, as does what is part of the image."""
    lacking = need + reserve - free
    if lacking <= 0:
        return Room(())
    able = sorted(
        (one for one in held if may_evict and not one.linked and not one.baked and one.path not in pinned),
        key=lambda one: (one.used_s, -one.size, one.path),
    )
    chosen: list[Held] = []
    for one in able:
        chosen.append(one)
        lacking -= one.size
        if lacking <= 0:
            return Room(_without_needless(chosen, -lacking))
    return NoRoom(lacking)


def _without_needless(chosen: Sequence[Held], spare: int) -> tuple[Held, ...]:
    """Small old files that the last, bigger one made needless stay, the most recently used first."""
    kept: list[Held] = []
    for one in reversed(chosen):
        if one.size <= spare:
            spare -= one.size
        else:
            kept.append(one)
    return tuple(reversed(kept))
