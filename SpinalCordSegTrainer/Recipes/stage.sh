#!/bin/bash
# stage.sh COMMAND... --output OUT ...: one stage of a recipe. Its result is listed in SHA256SUMS beside OUT; what is listed
# is not made again, and a training that was begun goes on.
set -euo pipefail
out='' previous=''
for word in "$@"; do
    [ "$previous" = --output ] && out=$word
    previous=$word
done
list=$(dirname "$out")/SHA256SUMS
if grep -qsE "  $out(/|\$)" "$list"; then exit; fi
if [ -e "$out/state.safetensors" ]; then
    "$@" --resume
elif [ ! -e "$out/cache.json" ]; then
    "$@"
fi
for result in "$out/last.safetensors" "$out/images.npy" "$out"; do
    if [ -f "$result" ]; then sha256sum "$result" | tee -a "$list"; exit; fi
done
echo "$out: nothing was made" >&2
exit 1
