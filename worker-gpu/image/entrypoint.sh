#!/usr/bin/env bash
# The program of the container, under tini. The first argument is the mode:
#   serverless      take jobs from RunPod (arguments go to the worker: --rp_serve_api, --test_input …)
#   compute         interactive ComfyUI on 0.0.0.0:8188 (arguments go to ComfyUI)
#   models          the worker's models command: list, pull, verify …
#   anything else   a command to run
# Each of them replaces this shell, so that signals reach the program and its exit code is that of the container.
# The paths come from the image's environment; see ../Dockerfile.
set -euo pipefail

fail() {
  echo "entrypoint: $1" >&2
  exit 78 # EX_CONFIG
}

# The models folder of a network volume, if one is mounted. Serverless and pods mount it at different paths.
models_on_a_volume() {
  local folder
  for folder in "${VOLUME_PODS:-/workspace}/models" "${VOLUME_SERVERLESS:-/runpod-volume}/models"; do
    if [ -d "$folder" ]; then
      echo "$folder"
      return
    fi
  done
}

serverless() {
  # This image has no front end, but ComfyUI needs a folder for it. Flags of the user come later and take precedence.
  local own="--front-end-root /opt/comfyui/no-frontend --models-directory $MODELS_DIR --database-url sqlite:///:memory:"
  export COMFYUI_ARGS="$own ${COMFYUI_ARGS:-}"
  exec "$WORKER_PYTHON" -m worker_gpu "$@"
}

compute() {
  local pods="${VOLUME_PODS:-/workspace}" data="$WORKER_DATA_DIR" models
  # On a pod with a volume, files of the user outlive the pod.
  if [ -d "$pods" ] && [ -w "$pods" ]; then
    data="$pods/comfyui"
  fi
  models="$(models_on_a_volume)"
  mkdir -p "$data/input" "$data/output" "$data/temp" "$data/user" || fail "cannot write to $data"
  local args=()
  # shellcheck disable=SC2206 # words, as a shell would split them
  args=(${COMFYUI_ARGS:-})
  cd "$COMFYUI_PATH"
  exec "$COMFYUI_PYTHON" -u main.py \
    --listen 0.0.0.0 --port "${COMFYUI_PORT:-8188}" --disable-auto-launch \
    --models-directory "${models:-$MODELS_DIR}" \
    --input-directory "$data/input" --output-directory "$data/output" \
    --temp-directory "$data" --user-directory "$data/user" \
    --database-url "sqlite:///$data/user/comfyui.db" \
    "${args[@]}" "$@"
}

mode="${1:-}"
[ -n "$mode" ] || fail "say what to run: serverless, compute, models, or a command"
shift
case "$mode" in
  serverless | models)
    [ -n "${WORKER_PYTHON:-}" ] && [ -x "$WORKER_PYTHON" ] || fail "this image has no worker (it is the compute image)"
    ;;&
  serverless | compute)
    [ -f "${COMFYUI_PATH:-}/main.py" ] || fail "COMFYUI_PATH: the folder has no main.py"
    [ -x "${COMFYUI_PYTHON:-}" ] || fail "COMFYUI_PYTHON: is not an executable file"
    ;;&
  serverless) serverless "$@" ;;
  compute) compute "$@" ;;
  models) exec "$WORKER_PYTHON" -m worker_gpu models "$@" ;;
  *) exec "$mode" "$@" ;;
esac
