#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a merge must pass: installs what is missing, builds everything with warnings as errors, checks format and fences, runs
# all tests but those on request (CONTRIBUTING.md), tests set-up on fresh systems, then runs the sanitizer subset. Ends with a
# summary and the closing line of ctest; fails if anything failed.
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CLICOLOR_FORCE=0
cores=$(nproc)
summary=() failed=0
main_log=build/ci/ctest.log
on_request='^(mutants|fresh)$'  # labels; e.g. ctest --test-dir build/ci -L mutants

# phase NAME COMMAND...: runs the command, records its time and a failure, and returns its status.
phase() {
  local name=$1 start=$SECONDS verdict=ok status=0
  shift
  printf '\n== %s\n' "$name"
  "$@" || { status=$?; verdict=FAILED; failed=1; }
  summary+=("$(printf '%-46s %5d s  %s' "$name" $((SECONDS - start)) $verdict)")
  return $status
}

run_tests() {  # preset log ctest-argument...
  mkdir -p build/"$1"
  # One more job than cores: tests spend a third of their time waiting for signals, time limits and file systems.
  ctest --test-dir build/"$1" -j $((cores + 1)) --output-on-failure --no-tests=error "${@:3}" 2>&1 | tee build/"$1/$2"
}

# Runs some of the tests labelled `sanitize` (tests/support/rondo_add_test.cmake), those that fit in the time of a CI run. To run
# all of them: cmake --build --preset debug --target rondo_sanitize_tests; ctest --test-dir build/debug -L sanitize
sanitizer() {  # preset name test...
  local preset=$1 name=$2
  shift 2
  phase "$name: configure" cmake --preset "$preset" || return
  phase "$name: build" cmake --build --preset "$preset" --parallel "$cores" --target "$@" || return
  phase "$name: tests" run_tests "$preset" ctest.log -R "^($(IFS='|'; echo "$*"))\$"
}

main() {
  phase "install what is missing" jobs/setup.sh --tests || return
  phase "format" jobs/format.sh --check
  phase "configure" cmake --preset ci || return
  phase "build" cmake --build --preset ci --parallel "$cores" || return
  phase "tests" run_tests ci ctest.log -LE "$on_request|^setup\$"
  phase "set-up on fresh systems" run_tests ci setup.log -L '^setup$'  # tests/setup; at most four minutes
  local ranks=(agreement_test ring_attention_2_ranks_test model_ring_2_ranks_test trainer_2_ranks_test)
  sanitizer debug "address and undefined behaviour" core_test ring_schedule_test cpu_attention_test checkpoint_test "${ranks[@]}"
  sanitizer tsan "threads" core_test "${ranks[@]}"
}
main

printf '\n== summary, %d s in all\n' $SECONDS
printf '%s\n' "${summary[@]}"
grep -h 'tests passed' build/ci/setup.log 2>/dev/null | sed 's/^/on fresh systems: /'
grep -h '(Skipped)' build/ci/setup.log 2>/dev/null | sed 's/^/on fresh systems:/'
grep -h 'tests passed' build/debug/ctest.log 2>/dev/null | sed 's/^/with AddressSanitizer: /'
grep -h 'tests passed' build/tsan/ctest.log 2>/dev/null | sed 's/^/with ThreadSanitizer: /'
[ $failed -eq 0 ] && echo "everything passed" || echo "something FAILED, see above"
grep -h 'tests passed' $main_log 2>/dev/null || echo "0% tests passed: the tests did not run"
exit $failed
