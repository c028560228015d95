#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formats all sources in place; with --check it changes nothing and fails when something is not formatted.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
program=$(command -v clang-format-14 || command -v clang-format) || { echo "clang-format is missing: jobs/setup.sh --tests" >&2; exit 1; }
how=(-i)
[ "${1:-}" != --check ] || how=(--dry-run -Werror)
git ls-files -z '*.cpp' '*.hpp' '*.cu' '*.cuh' | xargs -0 "$program" "${how[@]}"
