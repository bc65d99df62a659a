#!/usr/bin/env bash
# Starts ComfyUI on the CPU with every custom node of the image, lets it stop, and fails if a node did not import.
# Needs no GPU and no model. Runs in the build (target `check`) and against any ComfyUI: COMFYUI_PATH, COMFYUI_PYTHON.
set -euo pipefail

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"/{input,output,user,models,frontend}

cd "$COMFYUI_PATH"
code=0
HOME="$scratch" HF_HUB_OFFLINE=1 timeout "${CHECK_SECONDS:-600}" "$COMFYUI_PYTHON" -u main.py --cpu --quick-test-for-ci \
  --disable-auto-launch --front-end-root "$scratch/frontend" --models-directory "$scratch/models" \
  --input-directory "$scratch/input" --output-directory "$scratch/output" --temp-directory "$scratch" \
  --user-directory "$scratch/user" --database-url sqlite:///:memory: >"$scratch/log" 2>&1 || code=$?

if [ "$code" -ne 0 ]; then
  cat "$scratch/log"
  echo "check-nodes: ComfyUI exited with code $code" >&2
  exit 1
fi
if grep --quiet 'IMPORT FAILED' "$scratch/log"; then
  cat "$scratch/log"
  echo "check-nodes: these did not import:" >&2
  grep 'IMPORT FAILED' "$scratch/log" | sed 's/.*: //' >&2
  exit 1
fi
grep 'seconds: ' "$scratch/log" | sed 's|.*seconds: .*/|imported |' | sort --unique || true
