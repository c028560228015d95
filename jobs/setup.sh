#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing to build Rondo, and with --tests to test it. CMake says what is missing, so what comes from
# modules, Spack or CMAKE_PREFIX_PATH is respected, and nothing is installed when everything is found. Where CUDA and cuDNN
# are, it also fetches cuDNN's C++ headers into the user's cache; without them attention on GPUs uses our kernel alone.
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

fetch_cudnn_frontend() {  # the headers inside a Python package that CMake asked for; never fatal
  local wanted=build/probe/cudnn_frontend.txt version folder python
  [ -s $wanted ] || return 0
  read -r version folder <$wanted || true
  echo "setup: fetching the headers of cudnn-frontend $version"
  rm -rf build/probe/wheel
  for python in python3 /usr/bin/python3; do
    if "$python" -m pip download -q --no-deps --only-binary :all: -d build/probe/wheel "nvidia-cudnn-frontend==$version" \
      </dev/null >>build/probe/log.txt 2>&1; then
      # Under another name first, so that a folder with the right name is complete.
      if rm -rf "$folder.partial" && "$python" -c '
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
wheel.extractall(sys.argv[2], [n for n in wheel.namelist() if n.startswith("include/") or "licenses/" in n])
' build/probe/wheel/*.whl "$folder.partial" && rm -rf "$folder" && mv "$folder.partial" "$folder"; then
        echo "setup: put them into $folder"
        return 0
      fi
    fi
  done
  echo "setup: they could not be fetched, so attention on GPUs will use our own kernel alone; see build/probe/log.txt" >&2
}

probe
if [ ${#missing[@]} -eq 0 ]; then
  fetch_cudnn_frontend
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
fetch_cudnn_frontend
echo "setup: everything is found"
