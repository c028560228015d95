#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks and measures Rondo on the GPUs of this machine: tests of every operation, training on GPUs against CPUs, speed,
# sanitizers. The most important steps come first, every verdict is printed at once, and nothing stops at a failure. Runs from an unpacked
# bundle or from a build; needs Python 3 and no package manager. With --minutes M it ends within that time, for a GPU that is lent.
#
# usage: jobs/gpu-check.sh [--minutes M] [--build build/release] [--output gpu-check] [--only WORD]... [--multi] [--hosts A,B] [--dry-run]
set -euo pipefail
folder=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
python=$(command -v python3 || command -v python) || { echo "gpu-check: Python 3 is missing" >&2; exit 2; }
exec "$python" -B "$folder/gpu_check" "$@"
