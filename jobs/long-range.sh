#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trains a model with a compressive memory to recall statements from up to 32,768 tokens before, in five stages that begin with local
# attention (configs/long-range), then tests it on fresh samples of 4,096 tokens and more. One core, about half an hour.
# If the script is interrupted, the same line continues where it stopped.
#
# usage: jobs/long-range.sh recall|passkey linear|delta|delta_corrected [FOLDER]
set -euo pipefail
task=${1:-} rule=${2:-}
case "$task,$rule" in
  recall,linear|recall,delta|recall,delta_corrected) ;;
  passkey,linear|passkey,delta|passkey,delta_corrected) ;;
  *) sed -n '7s/^# //p' "$0" >&2; exit 2 ;;
esac
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
rondo=
for build in release quickstart; do
  [ -n "$rondo" ] || [ ! -x "$root/build/$build/bin/rondo" ] || rondo=$root/build/$build/bin/rondo
done
[ -n "$rondo" ] || { echo "jobs/long-range.sh: there is no program yet: cmake --preset release && cmake --build --preset release" >&2; exit 2; }
folder=${3:-runs/$task-$rule}
mkdir -p "$folder"
cd "$folder"

options=(--task "$task" --filler-ids 16)
case $task in
  recall) options+=(--keys 32 --values 32); several=(--pairs 8); window=(--tokens 12 --pairs 4 --queries 2) ;;
  passkey) options+=(--digits 5); several=(); window=(--tokens 16) ;;
esac

# prepare STAGE SEED OPTION...: makes the stage's corpus, always with the same bytes.
prepare() {
  local stage=$1 seed=$2
  shift 2
  "$rondo" prepare "${options[@]}" --seed "$seed" --output "$stage.h5" "$@"
}
prepare local 1 "${window[@]}" --samples 300000 --validation-samples 4080
prepare 128-tokens 2 "${several[@]}" --tokens 128 --samples 50000 --validation-samples 512
prepare 512-tokens 3 "${several[@]}" --tokens 512 --samples 10000 --validation-samples 128
prepare 4096-tokens 4 "${several[@]}" --tokens 4096 --samples 1600 --validation-samples 64 --outside-window 96
prepare 32768-tokens 5 "${several[@]}" --tokens 32768 --shortest 4096 --samples 300 --validation-samples 8 --outside-window 96

stages=()
for stage in local 128-tokens 512-tokens 4096-tokens 32768-tokens; do stages+=("$root/configs/long-range/$stage.toml"); done
"$rondo" train "${stages[@]}" --set model.memory_rule="$rule" --run run

# ask TOKENS SAMPLES
ask() {
  echo
  "$rondo" eval --checkpoint run "${options[@]}" "${several[@]}" --tokens "$1" --samples "$2" \
    --outside-window 96 --seed 1 --threads 1 | tee "eval-$1.txt"
}
ask 4096 256
ask 32768 64
ask 131072 24
ask 1048576 6
