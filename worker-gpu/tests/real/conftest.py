"""These tests need a ComfyUI and PyTorch, which CI has not. They are collected where REAL_COMFYUI names folders of it
(several with `:` between them) and REAL_COMFYUI_PYTHON the interpreter that has its packages:

    REAL_COMFYUI=…/0.33.0:…/0.3.64 REAL_COMFYUI_PYTHON=…/venv/bin/python pytest tests/real
"""

import os

collect_ignore_glob = [] if os.environ.get("REAL_COMFYUI") else ["test_*.py"]
