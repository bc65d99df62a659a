"""The ComfyUI that runs the jobs: a child of the worker, or an external one at COMFYUI_URL."""

import asyncio
import json
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from worker_gpu.job.folders import JOBS, ComfyFolders, Folders, own_input_folder
from worker_gpu.json_readers import ShapeError, decode, maybe_object
from worker_gpu.lifecycle.process import Child, spawn
from worker_gpu.log import Log
from worker_gpu.settings import Settings
from worker_gpu.timeouts import Timeouts

KEPT_VARIABLES = frozenset(
    {"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "HF_HUB_OFFLINE"}
)
KEPT_PREFIXES = (
    *("LC_", "CUDA_", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_", "HSA_", "PYTORCH_", "TORCH", "TRITON_"),
    *("OMP_", "MKL_", "OPENBLAS_", "XDG_", "MALLOC_"),
)
"""What a ComfyUI needs of the environment. The rest (keys, tokens, RunPod's URLs) stays here: any custom node can read
its process's environment (reference/gpu-worker.md section 4)."""

PATHS_FILE = "worker_paths.yaml"
"""Tells ComfyUI where the worker's package for it is; and that datasets are saved in its output folder, where the
worker finds and deletes them: by itself it saves those of SaveTrainingDataset beside its models. Those that are there
are still loaded."""
EXTENSION = "comfy_edge"
"""The worker's package inside ComfyUI, and what ComfyUI's `/features` calls it."""
EXTENSION_PROTOCOL = 1
EXTENSION_FOLDER = Path(__file__).parents[1] / "comfyui_extension"
WHITELIST = "--whitelist-custom-nodes"


class ComfyDidNotStart(Exception):  # noqa: N818 -- a state of ComfyUI, not of the code
    """ComfyUI exited or did not answer in time. `tail` are its last lines, for the worker's log only."""

    def __init__(self, message: str, tail: list[str]) -> None:
        super().__init__(message)
        self.tail = tail


class ExternalComfy:
    """A ComfyUI somebody else runs: nothing to start, watch or restart, and its folders are out of reach."""

    folders: ComfyFolders | None = None
    runs_alone = False

    def __init__(self, url: str, timeouts: Timeouts) -> None:
        self.url = url
        self._timeouts = timeouts

    def launch(self) -> None:
        """Nothing to launch."""

    async def start(self) -> None:
        """Wait until it answers. Raises `ComfyDidNotStart`."""
        await _wait_ready(self.url, self._timeouts, lambda: None, list)

    async def ensure_running(self) -> bool:
        """Nothing can be done about it here; False: it was not restarted."""
        return False

    async def wait_exit(self) -> None:
        """Never returns: its end is noticed by its silence."""
        await asyncio.Event().wait()

    async def kill(self) -> bool:
        """False: not ours to end."""
        return False

    @property
    def printed(self) -> int:
        """Always 0, see `tail`."""
        return 0

    def tail(self, after: int = 0) -> list[str]:
        """Always empty: its output is out of reach."""
        del after
        return []

    def failed_imports(self) -> list[str]:
        """Nothing, for the same reason."""
        return []

    def end(self) -> None:
        """Leave it alone."""


class OwnComfy:
    """A ComfyUI that is a child of the worker, on loopback, with an environment without secrets."""

    runs_alone = True

    def __init__(self, settings: Settings, path: Path, env: Mapping[str, str], timeouts: Timeouts, log: Log) -> None:
        data = settings.data_dir
        self.folders: ComfyFolders | None = ComfyFolders(
            data / JOBS,
            Folders(data / "input", data / "output", data / "temp"),
            own_input_folder(path, settings.comfyui_args),
        )
        self._path = path
        self._python = settings.comfyui_python
        self._args = settings.comfyui_args
        self._port = settings.comfyui_port or _free_port()
        self._env = scrubbed(env)
        self._data = data
        self._timeouts = timeouts
        self._log = log
        self._child: Child | None = None
        self._ready = False
        self._starting = False
        self._reviving: asyncio.Task[None] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the child; 0 before its first start."""
        return self._child.pid if self._child is not None else 0

    @property
    def printed(self) -> int:
        """How many lines it has printed so far, over all its starts."""
        return self._child.printed if self._child is not None else 0

    def tail(self, after: int = 0) -> list[str]:
        """Return ComfyUI's last lines of output since its last start, without the first `after` lines."""
        return self._child.tail(after) if self._child is not None else []

    def failed_imports(self) -> list[str]:
        """Folders of custom nodes that it could not import."""
        return self._child.failed_imports() if self._child is not None else []

    @property
    def arguments(self) -> list[str]:
        """What it is started with."""
        return self._command()[3:]

    def launch(self) -> None:
        """Start its process; `start` waits until it answers. Raises `OSError`."""
        if self._child is None:
            # Left by a worker that was killed.
            shutil.rmtree(self._data / JOBS, ignore_errors=True)
        for name in ("input", "output", "temp", "user"):
            (self._data / name).mkdir(parents=True, exist_ok=True)
        (self._data / PATHS_FILE).write_text(paths_yaml(self._data / "output"), "utf-8")
        self._ready, self._starting = False, True
        self._child = spawn(self._command(), self._path, self._env, self._show, self.printed)
        self._log.info("comfyui starting", pid=self._child.pid, port=self._port)

    async def start(self) -> None:
        """Start it, where it was not launched before, and wait until it answers. Raises `ComfyDidNotStart`."""
        if not self._starting:
            try:
                self.launch()
            except OSError as error:
                raise ComfyDidNotStart(f"ComfyUI cannot be launched: {type(error).__name__}", []) from error
        child = self._child
        if child is None:
            raise ComfyDidNotStart("ComfyUI was not launched", [])
        try:
            await _wait_ready(self.url, self._timeouts, lambda: child.exit_code, child.tail)
            await _check_extension(self.url, self._timeouts, child.tail)
        except ComfyDidNotStart as error:
            await asyncio.to_thread(child.end, self._timeouts.terminate_s)
            if not child.is_running:
                await child.wait_exit()  # by then its last lines are here
            raise ComfyDidNotStart(str(error), child.tail()) from error
        finally:
            self._starting = False
        self._ready = True
        self._log.info("comfyui ready", pid=child.pid)

    async def ensure_running(self) -> bool:
        """Restart it if it has exited or did not finish its start. Returns whether it did. Raises
        `ComfyDidNotStart`."""
        if self._child is not None and self._child.is_running and self._ready:
            return False
        # One start at a time, which goes on for the next when the job that asked for it is stopped.
        if self._reviving is None or self._reviving.done():
            self._reviving = asyncio.create_task(self._revive())
        await asyncio.shield(self._reviving)
        return True

    async def _revive(self) -> None:
        await self.kill()
        await self.start()

    async def wait_exit(self) -> None:
        """Return when it has exited."""
        if self._child is not None:
            await self._child.wait_exit()

    async def kill(self) -> bool:
        """Kill it at once; `ensure_running` restarts it."""
        self._ready = self._starting = False
        if self._child is not None:
            await asyncio.to_thread(self._child.kill)
        return True

    def end(self) -> None:
        """End it. Blocks until it is gone."""
        if self._child is not None:
            self._child.end(self._timeouts.terminate_s)

    def _show(self, line: str) -> None:
        # What it prints later may repeat prompts: that stays in the tail, shown when it dies.
        if self._starting:
            self._log.info("comfyui says", line=line)

    def _command(self) -> list[str]:
        given = set(self._args)
        folders: list[str] = []
        for flag, name in (
            ("--input-directory", "input"),
            ("--output-directory", "output"),
            ("--user-directory", "user"),
        ):
            folders += [flag, str(self._data / name)]
        # ComfyUI puts its own folder `temp` into the one named here.
        folders += ["--temp-directory", str(self._data)]
        folders += ["--extra-model-paths-config", str(self._data / PATHS_FILE)]
        folders += ["--database-url", f"sqlite:///{self._data / 'comfyui.db'}"]
        fixed = ["--listen", "127.0.0.1", "--port", str(self._port), *folders]
        if "--disable-auto-launch" not in given:
            fixed.append("--disable-auto-launch")
        # Ours come last: a flag given twice keeps its last value, and the worker relies on port and folders.
        return [self._python, "-u", "main.py", *self._args, *_with_extension(self._args), *fixed]


Comfy: TypeAlias = OwnComfy | ExternalComfy


def make_comfyui(settings: Settings, env: Mapping[str, str], timeouts: Timeouts, log: Log) -> Comfy:
    """The ComfyUI the settings name; not started yet."""
    if settings.comfyui_path is not None:
        return OwnComfy(settings, settings.comfyui_path, env, timeouts, log)
    return ExternalComfy(settings.comfyui_url or "", timeouts)


def paths_yaml(output: Path) -> str:
    """Text of `PATHS_FILE`, quoted as JSON does, which YAML reads the same way."""
    results = f'results:\n  base_path: {json.dumps(str(output.absolute()))}\n  is_default: true\n  datasets: "."\n'
    return f"{results}worker:\n  custom_nodes: {json.dumps(str(EXTENSION_FOLDER))}\n"


def _with_extension(given: tuple[str, ...]) -> list[str]:
    """The worker's package is loaded where no other custom node is. A flag given twice keeps its last value."""
    if "--disable-all-custom-nodes" not in given:
        return []
    kept: list[str] = []
    flag = ""
    for word in given:
        if word.startswith("-"):
            flag = word
            kept = [] if flag == WHITELIST else kept
        elif flag == WHITELIST:
            kept.append(word)
    return [WHITELIST, *kept, EXTENSION]


def scrubbed(env: Mapping[str, str]) -> dict[str, str]:
    """Of `env` only what a ComfyUI needs."""
    kept = {
        name: value
        for name, value in env.items()
        if name in KEPT_VARIABLES or any(name.startswith(prefix) for prefix in KEPT_PREFIXES)
    }
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _wait_ready(
    url: str, timeouts: Timeouts, exit_code: Callable[[], int | None], tail: Callable[[], list[str]]
) -> None:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + timeouts.start_s
    # Takes a fifth of a second to import: ComfyUI has been launched by then.
    import aiohttp

    limit = aiohttp.ClientTimeout(total=timeouts.comfy_call_s)
    async with aiohttp.ClientSession(timeout=limit) as http:
        while loop.time() < give_up:
            code = exit_code()
            if code is not None:
                raise ComfyDidNotStart(f"ComfyUI exited with {code} while starting", tail())
            try:
                async with http.get(f"{url}/system_stats") as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(timeouts.start_poll_s)
    raise ComfyDidNotStart(f"ComfyUI did not answer within {int(timeouts.start_s)} seconds", tail())


async def _check_extension(url: str, timeouts: Timeouts, tail: Callable[[], list[str]]) -> None:
    """Raises `ComfyDidNotStart` for a ComfyUI that would run jobs in one another's folders."""
    import aiohttp

    limit = aiohttp.ClientTimeout(total=timeouts.comfy_call_s)
    try:
        async with aiohttp.ClientSession(timeout=limit) as http, http.get(f"{url}/features") as response:
            features = maybe_object(decode(await response.read()))
    except (aiohttp.ClientError, TimeoutError, OSError, ShapeError) as error:
        raise ComfyDidNotStart(f"ComfyUI does not tell its features: {type(error).__name__}", tail()) from error
    if features.get(EXTENSION) != EXTENSION_PROTOCOL:
        text = f"ComfyUI did not load the worker's package {EXTENSION}, which keeps jobs apart. Its log says why."
        raise ComfyDidNotStart(text, tail())
