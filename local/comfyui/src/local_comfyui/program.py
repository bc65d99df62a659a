"""The program: options, start-up line, port, signals, end."""

import asyncio
import errno
import logging
import shutil
import signal
import sys
from pathlib import Path

from local_comfyui import PROTOCOL_VERSION
from local_comfyui.options import BadOption, Options, parse_options

SHUTDOWN_SECONDS = 2.0
"""How long open requests may take to end when the program stops."""


def main(argv: list[str], home: Path) -> int:
    """Run the server until SIGINT or SIGTERM. Exit status: 0, 1 when it cannot start, 2 for a bad flag."""
    try:
        options = parse_options(argv, home)
    except BadOption as problem:
        print(f"local/comfyui: {problem} (see --help)", file=sys.stderr)
        return 2
    logging.basicConfig(level=options.verbose, format="%(message)s", stream=sys.stdout)
    try:
        return asyncio.run(_serve(options))
    except OSError as problem:
        print(f"local/comfyui: {_explain(problem, options)}", file=sys.stderr)
        return 1


def _explain(problem: OSError, options: Options) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"port {options.port} on {options.listen} is in use; stop what uses it or choose another --port"
    if problem.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {options.listen} to listen on"
    return f"cannot start: {problem.strerror or problem} {problem.filename or ''}".rstrip()


async def _serve(options: Options) -> int:
    from aiohttp import web

    from local_comfyui.engine import build_engine
    from local_comfyui.routes import build_app

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    engine = build_engine(options)
    runner = web.AppRunner(build_app(engine), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        for host in options.listen.split(","):
            site = web.TCPSite(runner, host, options.port)
            await site.start()
        addresses = ", ".join(f"http://{name[0]}:{name[1]}" for name in runner.addresses)
        shutil.rmtree(options.temp, ignore_errors=True)
        await engine.start()
        print(
            f"local/comfyui: development engine with ComfyUI {PROTOCOL_VERSION}'s protocol on {addresses}"
            " (CPU, model-free nodes only; not ComfyUI)",
            flush=True,
        )
        await stop.wait()
        await engine.stop()
        shutil.rmtree(options.temp, ignore_errors=True)
    finally:
        await runner.cleanup()
    return 0
