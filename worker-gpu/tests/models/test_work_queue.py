"""The order of the queue, and the chunks of a file that become tasks one after another."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from models.samples import CHUNK, content, model, settings
from worker_gpu.models.download.file_download import Download
from worker_gpu.models.download.priority import Urgency, rank
from worker_gpu.models.download.remote_file import RemoteFile
from worker_gpu.models.download.work_queue import PREPARE, Task, WorkQueue
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import ModelFile


def download(name: str, urgency: Urgency, chunks: int = 3) -> Download:
    file = model(f"loras/{name}.safetensors", content(CHUNK * chunks, 1))
    return Download(file, urgency, RemoteFile(file, settings(Path("/nowhere"), None)))


def taken(tasks: WorkQueue, moment: float = 0.0) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    while (task := tasks.pop(moment)) is not None:
        found.append((task.download.file.name, task.chunk))
    return found


def test_queue_orders_by_urgency_and_reorders() -> None:
    tasks, behind, job = WorkQueue(), download("a", Urgency.BACKGROUND), download("b", Urgency.JOB)
    for one in (behind, job):
        tasks.add(Task.of(one, 0))
        tasks.add_later(Task.of(one, 1), 5.0)
    assert len(tasks) == 2
    tasks.reorder(behind, Urgency.JOB)
    assert taken(tasks) == [("a.safetensors", 0), ("b.safetensors", 0)]
    assert tasks.next_due() == 5.0
    assert taken(tasks, 4.9) == []
    tasks.reorder(behind, Urgency.BACKGROUND)
    assert taken(tasks, 5.0) == [("b.safetensors", 1), ("a.safetensors", 1)]


def test_remove_deletes_only_the_tasks_of_its_download() -> None:
    tasks, one, other = WorkQueue(), download("a", Urgency.JOB), download("b", Urgency.JOB)
    for each in (one, other):
        tasks.add(Task.of(each, 0))
        tasks.add_later(Task.of(each, 1), 1.0)
    tasks.remove(one)
    assert taken(tasks, 1.0) == [("b.safetensors", 0), ("b.safetensors", 1)]
    tasks.add(Task.of(other, 2))
    tasks.add_later(Task.of(other, 0), 1.0)
    tasks.clear()
    assert (len(tasks), tasks.next_due(), taken(tasks, 9.0)) == (0, None, [])


def test_each_task_creates_the_next_one_once() -> None:
    one = download("a", Urgency.JOB)
    first = Task.of(one, 0)
    second = first.take_follower()
    assert second is not None
    assert second.chunk == 1
    # A retry does not create the next task twice.
    assert first.take_follower() is None
    third = second.take_follower()
    assert third is not None
    assert third.take_follower() is None
    assert Task.of(one, PREPARE).take_follower() is None
    one.error = ModelError("model_missing", "gone")
    assert Task.of(one, 0).take_follower() is None


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(-3, 3), st.sampled_from(Urgency)), max_size=20))
def test_rank_orders_by_urgency_priority_and_size(rows: list[tuple[int, int, Urgency]]) -> None:
    files = [
        (ModelFile(f"vae/{n}.sft", size, "0" * 64, priority=priority), urgency)
        for n, (size, priority, urgency) in enumerate(rows)
    ]
    ordered = sorted(files, key=lambda pair: rank(*pair))
    keys = [(urgency, -file.priority, -file.size) for file, urgency in ordered]
    assert keys == sorted(keys)
