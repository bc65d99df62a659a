"""Kills at any moment: no wrong file ever appears, and the next run reads again only the chunks in flight.

Guards the recovery of downloads. Resuming depends on the order of writes to the partial file and its marks.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.faulty_store import FaultyStore
from models.partial_files import safe_chunks
from models.samples import CHUNK, content, manifest_bytes, model
from worker_gpu.models.manifest.manifest import ModelFile

KILLS = 50
CONNECTIONS = 3
SIZES = {
    "checkpoints/a.safetensors": CHUNK * 9 + 5,
    "loras/b.safetensors": CHUNK * 4,
    "loras/c.safetensors": 100,
    "vae/d.safetensors": CHUNK * 6 - 1,
}
TOTAL_CHUNKS = 10 + 4 + 1 + 6


class Puller:
    """Runs pulls in the process of puller.py."""

    def __init__(self, folder: Path, url: str, connections: int, store: FaultyStore) -> None:
        self._store = store
        self._process = subprocess.Popen(  # noqa: S603 -- a script of ours
            [sys.executable, str(Path(__file__).with_name("puller.py")), str(folder), url, str(connections)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def run(self, step: int = -1, share: float = 0.0, after_bytes: int = -1) -> int:
        """Run one pull and return its exit status. The child kills itself at its `step`-th disk operation, or is killed
        when the store has sent `after_bytes`."""
        assert self._process.stdin is not None
        child: list[int] = []
        sent = [0]

        def count(_key: str, amount: int) -> None:
            sent[0] += amount
            if 0 <= after_bytes < sent[0] and child:
                os.kill(child.pop(), signal.SIGKILL)

        self._process.stdin.write(f"{step} {share}\n")
        self._process.stdin.flush()
        child.append(self._answer())
        self._store.sent = count
        status = self._answer()
        # Bytes of the next run must not kill this one, whose process id may belong to another process by then.
        child.clear()
        return status

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process of puller.py has ended"
        return int(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


@dataclass
class Scene:
    puller: Puller
    store: FaultyStore
    models: Path
    bodies: dict[str, bytes]
    files: dict[str, ModelFile]

    def check_visible(self) -> None:
        """Every file that has its final name is correct."""
        for path, body in self.bodies.items():
            found = self.models / path
            assert not found.exists() or found.read_bytes() == body, f"{path} is visible and wrong"

    def safe(self) -> set[tuple[str, int]]:
        """The finished chunks, which no later run may read again."""
        return safe_chunks(self.models, self.files.values())

    def asked(self) -> set[tuple[str, int]]:
        """The chunks requested since the last call."""
        with_range = [one for one in self.store.take_asked() if one.first >= 0]
        return {(one.key, one.first // CHUNK) for one in with_range}

    def replace_models(self, seed: int) -> None:
        """Replace all models by others with the same paths."""
        self.bodies = {path: content(size, seed + n) for n, (path, size) in enumerate(SIZES.items())}
        self.files = {path: model(path, body) for path, body in self.bodies.items()}
        for path in self.bodies:
            (self.models / path).unlink(missing_ok=True)
        self.store.objects = {**self.bodies, "manifest.json": manifest_bytes(*self.files.values())}


@pytest.fixture
def scene(store: FaultyStore, tmp_path: Path) -> Generator[Scene]:
    puller = Puller(tmp_path, store.url, CONNECTIONS, store)
    made = Scene(puller, store, tmp_path / "models", {}, {})
    made.replace_models(0)
    yield made
    puller.close()


def test_kill_during_a_transfer_loses_only_chunks_in_flight(scene: Scene) -> None:
    random_bytes, total = random.Random(50), sum(SIZES.values())
    assert kill_and_resume(scene, lambda: scene.puller.run(after_bytes=random_bytes.randrange(total // 2))) > 3


def test_kill_at_a_disk_operation_loses_only_chunks_in_flight(scene: Scene) -> None:
    chance = random.Random(51)
    kill_and_resume(scene, lambda: scene.puller.run(step=chance.randrange(60), share=chance.random()))
    assert scene.puller.run() == 0
    scene.check_visible()
    assert all((scene.models / path).exists() for path in SIZES)


def kill_and_resume(scene: Scene, run: Callable[[], int]) -> int:
    """Run until `KILLS` runs were killed, each resuming what the one before has left. Returns the number of runs that
    finished; new models follow each of them."""
    kills = finished = 0
    while kills < KILLS:
        before = scene.safe()
        status = run()
        asked = scene.asked()
        scene.check_visible()
        assert not asked & before, "read a finished chunk again"
        if status == -signal.SIGKILL:
            kills += 1
            assert len(asked - scene.safe()) <= CONNECTIONS, "lost more than the chunks in flight"
        else:
            assert status == 0
            assert len(scene.safe()) == TOTAL_CHUNKS
            finished += 1
            scene.replace_models(100 * finished)
    return finished
