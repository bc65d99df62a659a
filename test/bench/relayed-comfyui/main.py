"""The CPU engine behind a relay: it listens on the port after `--behind`, the relay on the one the worker gave."""

import os
import sys
from pathlib import Path

engine = Path(__file__).resolve().parents[3] / "local" / "comfyui" / "main.py"
arguments = sys.argv[1:]
at = arguments.index("--behind")
behind = arguments[at + 1]
del arguments[at : at + 2]
# A flag given twice keeps its last value.
os.execv(sys.executable, [sys.executable, "-u", str(engine), *arguments, "--port", behind])
