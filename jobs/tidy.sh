#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs clang-tidy on the sources that differ from the branch main, or from BRANCH, or with --all on all sources (about five
# seconds per file and core).
# Needs clang-tidy 15 or newer, which knows std::source_location: Debian package clang-tidy-16.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
program=
for candidate in clang-tidy-19 clang-tidy-18 clang-tidy-17 clang-tidy-16 clang-tidy-15; do
  [ -n "$program" ] || program=$(command -v $candidate || true)
done
[ -n "$program" ] || { echo "tidy: clang-tidy 15 or newer is missing: Debian package clang-tidy-16" >&2; exit 1; }
mkdir -p build
cmake --preset develop >build/tidy-configure.log || { cat build/tidy-configure.log >&2; exit 1; }

case "${1:-}" in
  --all) files=$(git ls-files 'apps/*.cpp' 'lib/*.cpp' 'kernels/*.cpp' 'tests/*.cpp') ;;
  -*) echo "usage: jobs/tidy.sh [--all | BRANCH]" >&2; exit 2 ;;
  *)
    base=
    for candidate in ${1:-main origin/main}; do
      [ -n "$base" ] || base=$(git merge-base HEAD "$candidate" 2>/dev/null || true)
    done
    [ -n "$base" ] || { echo "tidy: there is no branch ${1:-main} to compare with here: name another one, or give --all" >&2; exit 2; }
    files=$(git diff --name-only --diff-filter=d "$base" -- '*.cpp') ;;
esac
[ -n "$files" ] || { echo "tidy: no source differs from ${1:-main}"; exit 0; }
printf '%s\n' "$files" | xargs -P "$(nproc)" -n 1 "$program" -p build/develop --quiet --extra-arg=-Wno-unknown-warning-option 2>build/tidy-notes.log
echo "tidy: $(wc -w <<<"$files") files are clean"
