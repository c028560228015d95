#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing to build Rondo, and with --tests to test it. CMake says what is missing, so what comes from
# modules, Spack or CMAKE_PREFIX_PATH is respected, and nothing is installed when everything is found.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

tests=OFF
case "${1:-}" in
  "") ;;
  --tests) tests=ON ;;
  *) echo "usage: jobs/setup.sh [--tests]" >&2; exit 2 ;;
esac

need_command() {  # command package...
  command -v "$1" >/dev/null || missing+=("${@:2}")
}

probe() {  # fills the array `missing` with Debian packages
  missing=()
  need_command cmake cmake
  need_command c++ g++
  need_command cc gcc
  need_command ninja ninja-build
  if [ $tests = ON ]; then
    need_command ccache ccache
    need_command git git
    need_command ip iproute2
    command -v clang-format >/dev/null || need_command clang-format-14 clang-format-14
  fi
  if [ ${#missing[@]} -gt 0 ]; then  # CMake cannot be asked yet: assume the whole list
    missing+=(libopenmpi-dev openmpi-bin libhdf5-openmpi-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev
      libspdlog-dev libdnnl-dev libxxhash-dev zlib1g-dev)
    [ $tests = OFF ] || missing+=(libgtest-dev libgmock-dev python3 python3-numpy python3-h5py)
    return
  fi
  local log=build/probe/log.txt
  mkdir -p build/probe
  rm -f build/probe/missing_packages.txt
  if ! cmake -G Ninja -S jobs/cmake/probe -B build/probe -DRONDO_TESTS=$tests >$log 2>&1; then
    cat $log >&2
    echo "setup: CMake itself does not work here, see above" >&2
    exit 1
  fi
  read -r -a missing -d '' <build/probe/missing_packages.txt || true
}

probe
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: everything is found, nothing to install"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "setup: missing, and there is no apt-get here to install them. Debian calls them: ${missing[*]}" >&2
  echo "setup: load the modules or Spack packages that match, then run this again" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: not root and no sudo; ask for: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
mkdir -p build
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } </dev/null >build/setup.log 2>&1; then
  tail -n 30 build/setup.log >&2
  echo "setup: the installation failed, see above and build/setup.log" >&2
  exit 1
fi

probe
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: still missing after the installation: ${missing[*]}" >&2
  exit 1
fi
echo "setup: everything is found"
