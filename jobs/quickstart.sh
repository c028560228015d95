#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to a trained model: installs what is missing, builds the program, fetches and prepares a corpus, trains
# over 2 MPI ranks, is interrupted on purpose, continues from the checkpoint, evaluates, and generates a sample.
#
# usage: jobs/quickstart.sh [--corpus FILE_OR_FOLDER]
set -euo pipefail
start_folder=$PWD
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

name=quickstart text=
while [ $# -gt 0 ]; do
  case "$1" in
    --corpus)
      text=$(cd "$start_folder" && readlink -e "${2:?--corpus needs a file or a folder}") || { echo "quickstart: no such file or folder: $2" >&2; exit 2; }
      name=quickstart-$(basename "${text%%.*}")
      shift 2 ;;
    -h|--help) sed -n '3,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "usage: jobs/quickstart.sh [--corpus FILE_OR_FOLDER]" >&2; exit 2 ;;
  esac
done

ranks=2
cores=$(nproc)
rondo=build/release/bin/rondo
run=runs/$name
corpus=$run.h5
export OMP_NUM_THREADS=$(( cores / ranks > 0 ? cores / ranks : 1 ))
# Containers and small machines: mpirun as root, more ranks than cores.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
mpirun=(mpirun --quiet -n $ranks --bind-to none)
steps=$(sed -n 's/^steps *= *\([0-9]*\).*/\1/p' configs/quickstart.toml)

say() { printf '\n== %s (%d s so far)\n' "$1" $SECONDS; }
show() { printf '$'; printf ' %q' "$@"; echo; "$@"; }
train=("${mpirun[@]}" $rondo train configs/quickstart.toml --set data.corpus="$corpus" --run "$run")
logged_step() { sed -n 's/.*"step": *\([0-9]*\).*/\1/p' "$run/metrics.jsonl" 2>/dev/null | tail -n 1; }

# Trains to half of the steps, then asks the run to stop with SIGUSR1, as a batch system does before it takes the nodes.
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

say "Installing what is missing"
jobs/setup.sh

say "Building the program"
cmake --preset release -DRONDO_TESTS=OFF -DRONDO_CUDA=OFF >build/configure.log || { cat build/configure.log >&2; exit 1; }
cmake --build --preset release --parallel "$cores"  # more at once than there are cores takes longer

if [ -z "$text" ]; then
  text=data/perl-manual
  if ! [ -d $text ]; then
    say "Fetching the corpus"
    data/perl_manual.sh $text.partial || { echo "quickstart: give a text of your own: jobs/quickstart.sh --corpus FILE" >&2; exit 1; }
    mv $text.partial $text
  fi
fi

mkdir -p runs
if ! [ -f "$corpus" ]; then
  say "Preparing the corpus"
  show $rondo prepare "$text" --output "$corpus" --tokenizer bytes
fi

if [ "$(logged_step)" -lt $((steps / 2)) ] 2>/dev/null || ! [ -f "$run/metrics.jsonl" ]; then
  say "Training over $ranks ranks, to be interrupted half-way"
  echo "$ ${train[*]}"
  train_and_interrupt || { echo "quickstart: training failed, see above and $run/exit.json" >&2; exit 1; }
fi

say "Continuing from the checkpoint: the same line once more"
show "${train[@]}"
checkpoint=$(ls -d "$run"/checkpoints/step-*[0-9] | sort -V | tail -n 1)

say "Evaluating on text that was held out"
show "${mpirun[@]}" $rondo eval --checkpoint "$checkpoint" --corpus "$corpus" | tee "$run/held_out.txt"
show $rondo corpus info "$corpus" --baselines | tee "$run/baselines.txt"

say "Generating"
show $rondo generate --checkpoint "$checkpoint" --prompt "The " --tokens 400 --temperature 0.8 --seed 1 | tee "$run/sample.txt"

cat <<END

== Done in $SECONDS s
You have prepared a corpus, trained a transformer with Ring Attention over $ranks MPI ranks, stopped it half-way,
continued it from its checkpoint, measured it on held-out text and let it write.

  corpus       $corpus                    (HDF5; $rondo corpus sample $corpus shows some)
  run folder   $run                       (config.toml, metrics.jsonl, checkpoints, exit.json)
  checkpoint   $checkpoint
  held out     $run/held_out.txt, the Markov baselines beside it in $run/baselines.txt
  sample       $run/sample.txt

Next:
  jobs/quickstart.sh --corpus FILE      the same with your own text
  $rondo --help                         all commands
  mpirun -n 4 --oversubscribe $rondo train configs/quickstart.toml --set data.corpus=$corpus --run runs/longer --set data.sequence_length=8192
                                        a longer sequence on more ranks
  jobs/test.sh                          every test
END
