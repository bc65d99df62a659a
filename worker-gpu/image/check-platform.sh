#!/usr/bin/env bash
# check-platform.sh IMAGE: exits 0 if the image in the registry is for linux/amd64 and for nothing else.
# On RunPod an image for another platform stays "initializing" without an error. Needs docker buildx; pulls no layer.
set -euo pipefail

image="${1:?name the image}"
# An attestation is an entry of its own, for unknown/unknown. A single manifest has no such list, of which buildx complains;
# what else is wrong the second question says.
found="$(docker buildx imagetools inspect "$image" \
  --format '{{range .Manifest.Manifests}}{{.Platform.OS}}/{{.Platform.Architecture}}{{"\n"}}{{end}}' 2>/dev/null \
  | grep --invert-match --line-regexp --fixed-strings -e unknown/unknown -e '' | sort --unique || true)"
if [ -z "$found" ]; then
  # A single manifest without an index: its configuration says.
  found="$(docker buildx imagetools inspect "$image" --format '{{.Image.OS}}/{{.Image.Architecture}}')"
fi
if [ "$found" != linux/amd64 ]; then
  echo "check-platform: $image is for ${found//$'\n'/, }, not for linux/amd64 alone" >&2
  exit 1
fi
echo "check-platform: $image is for linux/amd64"
