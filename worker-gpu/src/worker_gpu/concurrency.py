"""Several things at once, of which the first failure is the failure of all."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar, cast

T = TypeVar("T")


async def run_all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results of `works` in their order. The first to fail cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from None
    return [task.result() for task in tasks]


def first_failure(failures: BaseExceptionGroup[Any]) -> BaseException:
    """The first exception that is not a group itself."""
    first: BaseException = failures.exceptions[0]
    return first_failure(cast("BaseExceptionGroup[Any]", first)) if isinstance(first, BaseExceptionGroup) else first
