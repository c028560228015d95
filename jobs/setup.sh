#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing to build Rondo, and with --tests to test it. CMake determines what is missing, so libraries from
# modules, Spack or CMAKE_PREFIX_PATH are used, and nothing is installed if everything is found. Compilers are CC and CXX if
# these are set. If CUDA and cuDNN are installed, it also fetches cuDNN's C++ headers into the user's cache; without them
# attention on GPUs uses our kernel alone.
#
# usage: jobs/setup.sh [--tests] [--list]      --list prints the packages, for a container or an administrator
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

tests=OFF list=
for argument in "$@"; do
  case "$argument" in
    --tests) tests=ON ;;
    --list) list=yes ;;
    *) sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2 ;;
  esac
done
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

packages_of() { awk -v key="$1" '$1 == key { for (i = 3; i <= NF; ++i) printf "%s%s", $i, i < NF ? " " : "\n" }' jobs/cmake/packages.txt; }
whole_list() {
  local kinds="command build"
  [ $tests = OFF ] || kinds+=" tests optional"
  awk -v kinds=" $kinds " '!/^#/ && index(kinds, " " $2 " ") { for (i = 3; i <= NF; ++i) if (!seen[$i]++) print $i }' jobs/cmake/packages.txt
}
[ -z "$list" ] || { whole_list | xargs; exit 0; }

# need_command KEY COMMAND...: requires any one of the commands.
need_command() {
  local key=$1 command
  for command in "${@:2}"; do
    if command -v "$command" >/dev/null; then return; fi
  done
  read -r -a packages <<<"$(packages_of "$key")"
  missing+=("${packages[@]}")
}

# need_compiler KEY VARIABLE COMMAND...: requires the compiler in the environment variable, which may have options, else any command.
need_compiler() {
  local key=$1 variable=$2 words
  read -r -a words <<<"${!variable:-}"
  if [ ${#words[@]} -eq 0 ]; then
    need_command "$key" "${@:3}"
  elif ! command -v "${words[0]}" >/dev/null; then
    fail "$variable=${!variable}, and there is no ${words[0]} here: install it, or unset $variable to take the system's compiler"
  fi
}

need_new_cmake() {
  local version
  version=$(cmake --version 2>/dev/null | sed -n '1s/.* version \([0-9.]*\).*/\1/p')
  if [ "$(printf '%s\n' 3.25 "${version:-0}" | sort -V | head -n 1)" != 3.25 ]; then
    fail "CMake 3.25 or newer is needed; $(command -v cmake) is ${version:-not one that says its version}" \
      "put a newer one first in PATH, e.g. by its module or: python3 -m pip install --user cmake"
  fi
}

# Fills `optional` with the packages of missing commands without which something is slower or left out.
find_optional() {
  optional=()
  [ $tests = ON ] || return 0
  command -v ccache >/dev/null || optional+=("$(packages_of ccache)")
  command -v git >/dev/null || optional+=("$(packages_of git)")
  command -v clang-format-14 >/dev/null || optional+=("$(packages_of clang-format)")
  [ "$(id -u)" -ne 0 ] || ! command -v dpkg >/dev/null || command -v debootstrap >/dev/null || optional+=("$(packages_of debootstrap)")
}

# Fills `missing` with packages: those of missing commands if any, as CMake can look for libraries only with them.
probe() {
  missing=()
  find_optional
  need_command cmake cmake
  need_command ninja ninja ninja-build
  need_compiler cxx CXX c++ g++ clang++
  need_compiler cc CC cc gcc clang
  ! command -v cmake >/dev/null || need_new_cmake
  commands_missing=${#missing[@]}
  [ "$commands_missing" -eq 0 ] || return 0
  local log=build/probe/log.txt
  mkdir -p build/probe
  rm -f build/probe/missing_packages.txt
  # --fresh, as CMake remembers compilers and libraries, and modules may have been loaded since.
  if ! cmake --fresh -G Ninja -S jobs/cmake/probe -B build/probe -DRONDO_TESTS=$tests >$log 2>&1; then
    cat $log >&2
    fail "CMake cannot compile a small program here, see above: is the compiler (CC, CXX) complete?"
  fi
  [ ! -s build/probe/refused.txt ] || fail "$(cat build/probe/refused.txt)"
  read -r -a missing -d '' <<<"$(sort -u build/probe/missing_packages.txt)" || true
}

# why_missing: prints a sentence for each library, if CMake could look for them.
why_missing() {
  if [ "$commands_missing" -gt 0 ]; then
    echo "Missing commands: ${missing[*]}"
    echo "CMake cannot be asked for the libraries yet. The whole list: $(whole_list | xargs)"
  else
    echo "Missing:$(cat build/probe/missing.txt)"
  fi
}

# Succeeds on releases that have the package names of packages.txt and new enough versions. On others nothing is installed.
check_release() {
  local id=unknown version='' name='this system'
  if [ -r /etc/os-release ]; then
    IFS=$'\t' read -r id version name < <(. /etc/os-release && printf '%s\t%s\t%s\n' "${ID:-unknown}" "${VERSION_ID:--}" "${PRETTY_NAME:-${ID:-this system}}")
  fi
  case "$id $version" in
    "debian 12"|"debian 13"|"ubuntu 24.04") return 0 ;;
    debian\ [1-9]|debian\ 1[01]|ubuntu\ 1?.*|ubuntu\ 2[0-2].*)
      why_missing >&2
      fail "$name is too old to install them from: its CMake is older than 3.25 and it has no toml++ (Debian 12 and Ubuntu 24.04 have both)" \
        "load them as modules or from Spack, then run this again" ;;
  esac
  why_missing >&2
  fail "$name is not a release whose package names are known here, so nothing was installed" \
    "these are the names of Debian 12, 13 and Ubuntu 24.04; install what corresponds, then run this again: ${missing[*]}"
}

# install PACKAGE...
installed=
install() {
  local as_root=() apt
  if ! command -v apt-get >/dev/null; then
    why_missing >&2
    fail "there is no apt-get here: load the modules or Spack packages that match, then run this again"
  fi
  check_release
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      why_missing >&2
      fail "you are not root and there is no sudo here; ask an administrator for: $*"
    fi
    echo "setup: sudo is needed to install $*"
    if ! sudo -v; then
      why_missing >&2
      fail "sudo does not let you install; ask an administrator for: $*"
    fi
    as_root=(sudo)
  fi
  echo "setup: installing $*"
  apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  mkdir -p build
  # Package lists of some servers may be unreachable without harm, so only the result of the installation counts.
  if ! { [ -n "$installed" ] || "${apt[@]}" update; "${apt[@]}" install -y --no-install-recommends "$@"; } </dev/null >build/setup.log 2>&1; then
    if grep -q -E '^(W|E|Err).*(Could not (resolve|connect)|Temporary failure|Cannot initiate the connection|Connection (timed out|refused))' build/setup.log; then
      grep -m 2 -E '^(W|E|Err).* (Temporary|Could|Cannot|Connection) ?' build/setup.log >&2 || true
      fail "the packages could not be fetched: no network access to the package servers that apt is configured for" \
        "with access (or apt's proxy set, or the packages installed otherwise) run this again; the whole output is in build/setup.log"
    fi
    tail -n 12 build/setup.log >&2
    fail "the installation failed, see above; the whole output is in build/setup.log"
  fi
  installed=yes
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
      # Unpacked under another name first, so that a folder with the final name is complete.
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

still_missing() {
  why_missing >&2
  fail "still missing after the installation, although apt-get reported no error; see build/probe/log.txt"
}

probe
if [ "$commands_missing" -gt 0 ]; then
  install "${missing[@]}"
  probe
  [ "$commands_missing" -eq 0 ] || still_missing
fi
if [ ${#missing[@]} -gt 0 ]; then
  install "${missing[@]}"
  probe
  [ ${#missing[@]} -eq 0 ] || still_missing
fi
# These are not required, so they are installed only if that needs no password, and may fail to install.
if [ ${#optional[@]} -gt 0 ] && command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; then
  for package in "${optional[@]}"; do
    if (install "$package"); then installed=yes; fi
  done
  find_optional
fi
fetch_cudnn_frontend
if [ ${#optional[@]} -gt 0 ]; then
  echo "setup: not found, and not necessary: ${optional[*]}"
  echo "setup: (ccache recompiles faster, git names the commit, clang-format 14 checks the format, debootstrap tests fresh systems)"
fi
if [ -n "$installed" ]; then
  echo "setup: everything is found"
else
  echo "setup: everything is found, nothing to install"
fi
