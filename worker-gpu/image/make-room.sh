#!/usr/bin/env bash
# A hosted runner has about 20 GB free and 30 GB of tools this build does not use; an image is 12 GB, its layers as much again.
set -euo pipefail
sudo rm -rf /usr/local/lib/android /usr/share/dotnet /opt/ghc /usr/local/.ghcup /opt/hostedtoolcache/CodeQL
df --human-readable /
