"""Start the engine: `python main.py --listen 127.0.0.1 --port 8188`, like a ComfyUI checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from local_comfyui.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv, Path(__file__).resolve().parent))
