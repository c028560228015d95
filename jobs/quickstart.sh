#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to a trained model: installs what is missing, builds the program, fetches and prepares a corpus, trains
# over 2 MPI ranks, is interrupted on purpose, resumes from the checkpoint, evaluates, and generates a sample.
# If the script is interrupted, the same line continues where it stopped.
#
# usage: jobs/quickstart.sh [--corpus FILE_OR_FOLDER] [--dry-run]      --dry-run names the files and shows the commands, and stops
set -euo pipefail
start_folder=$PWD
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

text='' dry_run=
while [ $# -gt 0 ]; do
  case "$1" in
    --corpus)
      [ -n "${2:-}" ] || { echo "quickstart: --corpus needs a file or a folder" >&2; exit 2; }
      text=$(cd "$start_folder" && readlink -e -- "$2") || { echo "quickstart: no such file or folder: $2" >&2; exit 2; }
      shift 2 ;;
    --dry-run) dry_run=yes; shift ;;
    -h|--help) sed -n '3,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) sed -n '7s/^# //p' "$0" >&2; exit 2 ;;
  esac
done

# A text of the user's own is named by its base name and a digest of its path, as several texts may have the same base name.
name=quickstart
if [ -n "$text" ]; then
  base=$(basename -- "$text")
  [ -d "$text" ] || base=${base%.*}
  name+=-${base//[^[:alnum:]._-]/-}-$(printf %s "$text" | sha256sum | cut -c 1-12)
else
  text=data/perl-manual
fi
ranks=2
build=build/quickstart
rondo=$build/bin/rondo
run=runs/$name
corpus=$run.h5
text_record=$run.text
steps=$(sed -n 's/^steps *= *\([0-9]*\).*/\1/p' configs/quickstart.toml)

say() { printf '\n== %s (%d s so far)\n' "$1" $SECONDS; }
quoted() { local words; words=$(printf ' %q' "$@"); echo "${words# }"; } # a line that can be pasted
show() { echo "$ $(quoted "$@")"; "$@"; }
logged_step() { sed -n 's/.*"step": *\([0-9]*\).*/\1/p' "$run/metrics.jsonl" 2>/dev/null | tail -n 1; }

# Name, size and modification time of each file of the text.
describe_text() { find -L "$text" -type f -printf '%P\t%s\t%T@\n' | LC_ALL=C sort; }
if [ -f "$corpus" ] && [ -f "$text_record" ] && [ -e "$text" ] && [ "$(describe_text)" != "$(cat "$text_record")" ]; then
  echo "quickstart: $text has changed since $corpus was prepared from it. To begin anew with it as it is now, remove what was made:" >&2
  echo "  $(quoted rm -rf "$PWD/$run" "$PWD/$corpus" "$PWD/$text_record")" >&2
  exit 2
fi

# launch.sh takes the launcher of the MPI that the program was built with, which need not be the mpirun in PATH.
on_ranks=(jobs/launch.sh --quiet -n "$ranks")
train=("${on_ranks[@]}" "$rondo" train configs/quickstart.toml --set data.corpus="$corpus" --run "$run")

# Trains half of the steps, then stops the run with SIGUSR1, as a batch system does before it ends a job.
train_and_interrupt() {
  local status=0 pid
  "${train[@]}" & pid=$!
  trap 'kill -TERM $pid 2>/dev/null' INT TERM
  while kill -0 $pid 2>/dev/null; do
    if [ "$(logged_step || true)" -ge $((steps / 2)) ] 2>/dev/null; then
      kill -USR1 $pid 2>/dev/null || true
      break
    fi
    sleep 0.2
  done
  wait $pid || status=$?
  trap - INT TERM
  [ $status -ne 75 ] || echo "quickstart: the run ended with 75, as it should: stopped early, saved, continue with the same line"
  [ $status -eq 75 ] || [ $status -eq 0 ]
}

# What can be done next, as lines that can be pasted where the user is.
show_next() {
  echo "Next:"
  [ "$start_folder" = "$PWD" ] || echo "  $(quoted cd "$PWD")"
  cat <<END
  # a piece of the corpus
  $(quoted "$rondo" corpus sample "$corpus")
  # a longer sequence on more ranks
  $(quoted jobs/launch.sh -n 4 "$rondo" train configs/quickstart.toml --set data.corpus="$corpus" --run "$run-longer" --set data.sequence_length=8192)
  # all commands; the same with your own text is: jobs/quickstart.sh --corpus FILE_OR_FOLDER
  $(quoted "$rondo" --help)
  # the tests that a change must pass
  jobs/test.sh
END
}

if [ -n "$dry_run" ]; then
  cat <<END
text         $text
corpus       $corpus$([ ! -f "$corpus" ] || echo " (there already)")
run folder   $run$([ ! -d "$run" ] || echo " (there already, at step $(logged_step))")

  jobs/setup.sh
  cmake --preset quickstart && cmake --build --preset quickstart
  $(quoted "$rondo" prepare "$text" --output "$corpus" --tokenizer bytes)
  $(quoted "${train[@]}")
END
  show_next
  exit 0
fi

say "Installing what is missing"
jobs/setup.sh

say "Building the program"
mkdir -p build
cmake --preset quickstart >build/configure.log || { cat build/configure.log >&2; exit 1; }
cmake --build --preset quickstart --parallel "$(nproc)"  # more jobs than cores take longer

if [ "$text" = data/perl-manual ] && ! [ -d "$text" ]; then
  say "Fetching the corpus"
  data/perl_manual.sh "$text.partial" || { echo "quickstart: give a text of your own: jobs/quickstart.sh --corpus FILE" >&2; exit 1; }
  mv "$text.partial" "$text"
fi

mkdir -p runs
if ! [ -f "$corpus" ]; then
  say "Preparing the corpus"
  describe_text >"$text_record"
  show "$rondo" prepare "$text" --output "$corpus" --tokenizer bytes
fi

if [ "$(logged_step)" -lt $((steps / 2)) ] 2>/dev/null || ! [ -f "$run/metrics.jsonl" ]; then
  say "Training over $ranks ranks, to be interrupted half-way"
  echo "$ $(quoted "${train[@]}")"
  train_and_interrupt || { echo "quickstart: training failed, see above and $run/exit.json" >&2; exit 1; }
fi

say "Continuing from the checkpoint: the same line once more"
show "${train[@]}"
checkpoint=$(find "$run/checkpoints" -maxdepth 1 -name 'step-*[0-9]' | sort -V | tail -n 1)

say "Evaluating on text that was held out"
show "${on_ranks[@]}" "$rondo" eval --checkpoint "$checkpoint" --corpus "$corpus" | tee "$run/held_out.txt"
show "$rondo" corpus info "$corpus" --baselines | tee "$run/baselines.txt"

say "Generating"
show "$rondo" generate --checkpoint "$checkpoint" --prompt "The " --tokens 400 --temperature 0.8 --seed 1 | tee "$run/sample.txt"

cat <<END

== Done in $SECONDS s
You have prepared a corpus, trained a transformer with Ring Attention over $ranks MPI ranks, stopped it half-way,
continued it from its checkpoint, measured it on held-out text and let it write.

  program      $rondo
  corpus       $corpus (HDF5)
  run folder   $run (config.toml, metrics.jsonl, checkpoints, exit.json)
  checkpoint   $checkpoint
  held out     $run/held_out.txt, the Markov baselines beside it in $run/baselines.txt
  sample       $run/sample.txt

END
show_next
