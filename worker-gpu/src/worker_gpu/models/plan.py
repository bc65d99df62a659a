"""What to fetch, in which order, and what to evict for it. Pure: nothing here reads a disk or a clock."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from worker_gpu.models.index import Held
from worker_gpu.models.manifest import ModelFile


class Urgency(IntEnum):
    """Who waits. Smaller goes first."""

    JOB = 0
    BOOT = 1
    BACKGROUND = 2


@dataclass(frozen=True)
class Room:
    """Files to delete, oldest first, before the new one fits."""

    evict: tuple[Held, ...]


@dataclass(frozen=True)
class NoRoom:
    """Even with everything gone that may go, this many bytes are lacking."""

    lacking: int


def rank(file: ModelFile, urgency: Urgency) -> tuple[int, int, int, str]:
    """Order of fetching: who waits, the manifest's priority (higher first), the biggest first so that no long file
    starts last, then the path."""
    return (urgency, -file.priority, -file.size, file.path)


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
