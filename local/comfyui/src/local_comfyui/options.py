"""The command line: ComfyUI's flags, of which this engine obeys some and accepts the rest without effect."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

DEFAULT_PORT = 8188
"""ComfyUI's own default port."""

DEFAULT_MAX_UPLOAD_MB = 100
"""ComfyUI's own default for --max-upload-size, in megabytes."""

# ComfyUI's flags (its `--help`, 0.3 to 0.38) that mean nothing here: they concern models,
# GPUs, its front end, its database.
IGNORED_SWITCHES = [
    "--cpu",
    "--auto-launch",
    "--disable-auto-launch",
    "--windows-standalone-build",
    "--disable-assets",
    "--enable-assets",
    "--offline",
    "--log-stdout",
    "--dont-print-server",
    "--disable-api-nodes",
    "--disable-all-custom-nodes",
    "--enable-manager",
    "--disable-manager-ui",
    "--enable-manager-legacy-ui",
    "--multi-user",
    "--gpu-only",
    "--highvram",
    "--normalvram",
    "--lowvram",
    "--novram",
    "--force-fp32",
    "--force-fp16",
    "--fp32-unet",
    "--fp64-unet",
    "--bf16-unet",
    "--fp16-unet",
    "--fp8_e4m3fn-unet",
    "--fp8_e5m2-unet",
    "--fp16-vae",
    "--fp32-vae",
    "--bf16-vae",
    "--cpu-vae",
    "--force-channels-last",
    "--force-upcast-attention",
    "--dont-upcast-attention",
    "--use-split-cross-attention",
    "--use-quad-cross-attention",
    "--use-pytorch-cross-attention",
    "--use-sage-attention",
    "--use-flash-attention",
    "--use-ck-attention",
    "--disable-xformers",
    "--disable-ipex-optimize",
    "--supports-fp8-compute",
    "--disable-smart-memory",
    "--deterministic",
    "--async-offload",
    "--disable-async-offload",
    "--force-non-blocking",
    "--disable-pinned-memory",
    "--disable-mmap",
    "--mmap-torch-files",
    "--fast-disk",
    "--quick-test-for-ci",
    "--enable-compress-response-body",
    "--disable-server-info",
    "--cache-classic",
]
IGNORED_WITH_VALUE = [
    "--database-url",
    "--front-end-root",
    "--front-end-version",
    "--preview-method",
    "--preview-size",
    "--user-directory",
    "--models-directory",
    "--cuda-device",
    "--default-device",
    "--cuda-malloc",
    "--directml",
    "--oneapi-device-selector",
    "--reserve-vram",
    "--tls-keyfile",
    "--tls-certfile",
    "--enable-cors-header",
    "--comfy-api-base",
    "--default-hashing-function",
    "--feature-flag",
    "--disabled-nodes-config",
]
IGNORED_WITH_VALUES = ["--extra-model-paths-config", "--whitelist-custom-nodes", "--fast", "--cache-ram"]


@dataclass(frozen=True)
class Options:
    """What a run was asked to do. Paths are absolute; `cache_size` is the number of node results kept."""

    argv: tuple[str, ...]
    listen: str
    port: int
    base: Path
    input: Path
    output: Path
    temp: Path
    metadata: bool
    max_upload_bytes: int
    keep_results: bool
    cache_size: int | None
    probe_nodes: bool
    verbose: str


class BadOption(Exception):  # noqa: N818 -- it is the whole answer to the user, not an internal error
    """A flag or value that is not understood; the message is one line for the user."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadOption(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="main.py",
        allow_abbrev=False,
        description="A CPU development engine that speaks ComfyUI's protocol. It is not ComfyUI.",
    )
    parser.add_argument("--listen", nargs="?", const="0.0.0.0,::", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port; 0 takes a free one and prints it")
    parser.add_argument(
        "--base-directory", type=Path, help="where input, output and temp are (default: beside main.py)"
    )
    parser.add_argument("--input-directory", type=Path)
    parser.add_argument("--output-directory", type=Path)
    parser.add_argument("--temp-directory", type=Path, help="the folder in which `temp` is made")
    parser.add_argument("--disable-metadata", action="store_true", help="do not write prompt and workflow into files")
    parser.add_argument("--max-upload-size", type=float, default=DEFAULT_MAX_UPLOAD_MB, help="megabytes")
    parser.add_argument("--cache-none", action="store_true", help="run every node of every prompt")
    parser.add_argument(
        "--cache-lru", type=int, default=0, metavar="N", help="keep N results, not only the last prompt's"
    )
    parser.add_argument("--verbose", nargs="?", const="DEBUG", default="INFO", metavar="LEVEL")
    parser.add_argument("--probe-nodes", action="store_true", help="add the test nodes SlowSteps and Explode")
    for flag in IGNORED_SWITCHES:
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    for flag in IGNORED_WITH_VALUE:
        parser.add_argument(flag, nargs="?", help=argparse.SUPPRESS, action="append")
    for flag in IGNORED_WITH_VALUES:
        parser.add_argument(flag, nargs="*", help=argparse.SUPPRESS, action="append")
    return parser


def parse_options(argv: list[str], home: Path) -> Options:
    """Options from `argv` (with the program's name first); `home` is where main.py lies.

    Raises `BadOption` for an unknown flag or an impossible value, `SystemExit` for --help.
    """
    seen = _parser().parse_args(argv[1:])
    port: int = seen.port
    if not 0 <= port <= 65535:
        raise BadOption(f"argument --port: {port} is not a port (0 to 65535)")
    if seen.max_upload_size <= 0:
        raise BadOption("argument --max-upload-size: must be more than 0")
    base = _absolute(seen.base_directory, home)
    lru: int = seen.cache_lru
    return Options(
        argv=tuple(argv),
        listen=seen.listen,
        port=port,
        base=base,
        input=_absolute(seen.input_directory, base / "input"),
        output=_absolute(seen.output_directory, base / "output"),
        temp=_absolute(seen.temp_directory, base) / "temp",
        metadata=not seen.disable_metadata,
        max_upload_bytes=round(seen.max_upload_size * 1024 * 1024),
        keep_results=not seen.cache_none,
        cache_size=lru if lru > 0 else None,
        probe_nodes=seen.probe_nodes,
        verbose=str(seen.verbose).upper(),
    )


def _absolute(given: Path | None, default: Path) -> Path:
    return (given if given is not None else default).expanduser().absolute()
