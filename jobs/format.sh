#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formats all sources in place; with --check it changes nothing and fails if something is not formatted. The style is that of
# clang-format 14 with .clang-format; other versions format differently.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
program=
for candidate in clang-format-14 clang-format; do
  [ -n "$program" ] || ! "$candidate" --version 2>/dev/null | grep -q 'version 14\.' || program=$candidate
done
if [ -z "$program" ]; then
  echo "format: clang-format 14 is missing (jobs/setup.sh --tests installs it on Debian 12; elsewhere: pip install clang-format==14.0.6)" >&2
  exit 1
fi
how=(-i)
[ "${1:-}" != --check ] || how=(--dry-run -Werror)
# In a tree without git, such as an unpacked archive, all files are formatted.
{ git ls-files -z '*.cpp' '*.hpp' '*.cu' '*.cuh' 2>/dev/null ||
  find apps lib kernels tests -type f \( -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh' \) -print0; } | xargs -0 "$program" "${how[@]}"
