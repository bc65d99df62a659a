"""The queue by itself: what must hold between two threads."""

import threading

import pytest

from local_comfyui.interrupt import Interrupt, Interrupted
from local_comfyui.prompt_queue import Freeing, PromptQueue, Queued


def queued(number: float, prompt_id: str) -> Queued:
    return Queued(number, prompt_id, {}, {}, [], {}, 0)


def test_interrupt_between_dequeue_and_start_is_not_lost() -> None:
    interrupt = Interrupt()
    queue = PromptQueue(interrupt, lambda remaining: None)
    queue.put(queued(0, "mine"))
    queue.take()
    assert queue.interrupt("mine")
    with pytest.raises(Interrupted):
        interrupt.check()


def test_interrupt_before_dequeue_does_not_stop_the_prompt() -> None:
    interrupt = Interrupt()
    queue = PromptQueue(interrupt, lambda remaining: None)
    queue.put(queued(0, "mine"))
    assert not queue.interrupt("mine")
    assert queue.interrupt(None)
    queue.take()
    interrupt.check()


def test_prompts_run_by_number_then_id() -> None:
    queue = PromptQueue(Interrupt(), lambda remaining: None)
    for number, prompt_id in ((2, "c"), (-3, "z"), (2, "b"), (0.5, "a")):
        queue.put(queued(number, prompt_id))
    taken: list[str] = []
    for _ in range(4):
        task = queue.take()
        assert isinstance(task, Queued)
        taken.append(task.prompt_id)
        queue.finish({})
    assert taken == ["z", "a", "b", "c"]


def test_every_change_of_the_number_of_unfinished_prompts_is_reported() -> None:
    reported: list[int] = []
    queue = PromptQueue(Interrupt(), reported.append)
    queue.put(queued(0, "a"))
    queue.put(queued(1, "b"))
    queue.take()
    queue.finish({})
    queue.delete("b")
    assert reported == [1, 2, 2, 1, 0, 0]


def test_waiting_thread_wakes_for_free_and_close() -> None:
    queue = PromptQueue(Interrupt(), lambda remaining: None)
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.extend([queue.take(), queue.take()]))
    thread.start()
    queue.free(Freeing(forget_results=True))
    queue.close()
    thread.join(10)
    assert not thread.is_alive()
    assert taken[-1] is None
