#!/usr/bin/env bash
# A hosted runner comes with tools this build does not use; an image is 8 to 10 GB unpacked, and the builder's caches as
# much again.
set -euo pipefail
sudo rm -rf /usr/local/lib/android /usr/share/dotnet /opt/ghc /usr/local/.ghcup /opt/hostedtoolcache/CodeQL
df --human-readable /
