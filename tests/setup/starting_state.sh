#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Takes a fresh system in one STATE through jobs/setup.sh, configuration, and the first build of one target, as its user would,
# and reads what they say. Needs root, debootstrap and network access; exits with 77, and says so, where one is lacking.
#
# usage: starting_state.sh SOURCE FOLDER base|compilers|nothing|compilers_only|other_defaults|no_rights|odd_path|no_network|quickstart
set -euo pipefail
source_folder=$(readlink -f "$1") folder=$2 state=$3
layer=${state/#compilers_only/everything}  # the folder that holds what becomes of the system
# shellcheck source=tests/setup/roots.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/roots.sh"

skip() { echo "SKIPPED: fresh systems cannot be tried here: $*"; exit 77; }
wrong() { printf 'FAILED in the state %s: %s\n' "$state" "$*" >&2; exit 1; }

if [ -z "${RONDO_NAMESPACE:-}" ]; then # the outer process: makes the namespaces, and waits
  [ "$(id -u)" -eq 0 ] || skip "only root can make a root file system"
  command -v debootstrap >/dev/null || skip "debootstrap is missing; jobs/setup.sh --tests installs it"
  unshare --mount --pid --fork --mount-proc true 2>/dev/null || skip "this container allows no mounts"
  mkdir -p "$folder"
  folder=$(readlink -f "$folder")
  inner=
  clean() {
    if [ -n "$inner" ]; then kill -KILL "$inner" 2>/dev/null || true; fi # and with it, by --kill-child, all in its namespaces
    wait
    rm -rf --one-file-system "$folder/mounted-$layer"
    [[ " $kept_layers " == *" $layer "* ]] || rm -rf --one-file-system "${folder:?}/$layer"
  }
  trap clean EXIT
  trap 'exit 143' TERM
  trap 'exit 130' INT
  # setpriv: the end of this process, even by SIGKILL, is the end of the inner one.
  RONDO_NAMESPACE=inside setpriv --pdeathsig KILL unshare --mount --pid --fork --mount-proc --kill-child=KILL "$0" "$source_folder" "$folder" "$state" & inner=$!
  status=0
  wait "$inner" 2>/dev/null || status=$?
  inner=
  exit $status
fi

network_works "$folder" || skip "no network access to the package servers that apt is configured for, see $folder/network.log"
stacked=$(can_stack "$folder")

# copy_tree FOLDER: what a clone or an archive would hold.
copy_tree() {
  mkdir -p "$root$1"
  tar -C "$source_folder" --exclude-vcs --exclude=./build --exclude=./runs --exclude='./data/*/*' --exclude='*.h5' -cf - . |
    tar -C "$root$1" --no-same-owner -xf -
}

# expect STATUS TEXT... -- COMMAND...: runs it in the tree; it must end with STATUS and say each TEXT. Sets `said`.
expect() {
  local expected=$1 texts=() text status=0 start=$SECONDS
  shift
  while [ "$1" != -- ]; do texts+=("$1"); shift; done
  shift
  said=$(inside "$root" "$tree" "$@" 2>&1 </dev/null) || status=$?
  printf -- '-- %s: %d s\n%s\n' "$*" $((SECONDS - start)) "$(tail -n 15 <<<"$said")"
  [ $status -eq "$expected" ] || wrong "$* ended with $status, not $expected"
  for text in "${texts[@]}"; do
    grep -q -F -e "$text" <<<"$said" || wrong "$* did not say: $text"
  done
}
installed_names() { sed -n 's/^setup: installing //p' <<<"$said" | xargs; }

configure=(cmake --preset quickstart)
build_one_target() {
  expect 0 "Two processes wrote together" -- "${configure[@]}"
  expect 0 -- cmake --build --preset quickstart --parallel 2 --target rondo_core
}

tree=/root/rondo
case $state in
  base) make_base "$folder" ;;
  compilers)
    [ ! -e "$folder/compilers.done" ] || exit 0
    open_root "$folder" compilers base
    apt_in "$root" install g++ cmake ninja-build git python3
    touch "$folder/compilers.done" ;;
  nothing)
    open_root "$folder" "$layer" base
    copy_tree $tree
    expect 0 "setup: everything is found" -- jobs/setup.sh
    build_one_target
    expect 0 "setup: everything is found, nothing to install" -- jobs/setup.sh ;;
  compilers_only)
    # Configuration is tried first, so that its folder has seen the system without the libraries. The result is the layer
    # `everything` of other states.
    open_root "$folder" "$layer" compilers base
    copy_tree $tree
    expect 1 "libopenmpi-dev" "libhdf5-openmpi-dev" -- "${configure[@]}"
    expect 0 "setup: everything is found" -- jobs/setup.sh
    for word in cmake g++ ninja-build; do
      [[ " $(installed_names) " != *" $word "* ]] || wrong "jobs/setup.sh installed $word, which was there"
    done
    build_one_target
    touch "$folder/everything.done" ;;
  other_defaults)
    open_root "$folder" "$layer" compilers base
    copy_tree $tree
    apt_in "$root" install mpich libmpich-dev libhdf5-dev
    inside "$root" / update-alternatives --quiet --set mpi /usr/bin/mpicc.mpich
    inside "$root" / update-alternatives --quiet --set mpirun /usr/bin/mpirun.mpich
    expect 1 "a parallel HDF5 in place of the serial one" -- "${configure[@]}"
    expect 0 "setup: everything is found" -- jobs/setup.sh
    build_one_target
    expect 0 "MPIEXEC_EXECUTABLE:FILEPATH=/usr/bin/mpiexec.openmpi" -- grep MPIEXEC_EXECUTABLE build/quickstart/CMakeCache.txt
    expect 0 "/usr/bin/mpicc.mpich" -- readlink /etc/alternatives/mpi ;; # the system's own default is as it was
  no_rights)
    open_root "$folder" "$layer" everything compilers base
    inside "$root" / useradd --create-home person
    tree=/home/person/rondo
    copy_tree $tree
    inside "$root" / chown -R person: $tree
    AS=person expect 0 "setup: everything is found, nothing to install" -- jobs/setup.sh
    AS=person build_one_target
    # What is missing is named for the administrator, and what root then installs is that alone, though a command is missing.
    apt_in "$root" remove ninja-build >/dev/null
    AS=person expect 1 "there is no sudo here; ask an administrator for: ninja-build" -- jobs/setup.sh
    apt_in "$root" install sudo # of which this user is no member
    AS=person expect 1 "sudo does not let you install; ask an administrator for: ninja-build" -- jobs/setup.sh
    expect 0 "setup: everything is found" -- jobs/setup.sh
    [ "$(installed_names)" = ninja-build ] || wrong "jobs/setup.sh installed '$(installed_names)', not ninja-build alone" ;;
  odd_path)
    open_root "$folder" "$layer" everything compilers base
    tree="/srv/Jane Doe/v1.2 für alle/rondo"
    copy_tree "$tree"
    expect 0 "setup: everything is found, nothing to install" -- jobs/setup.sh
    build_one_target ;;
  no_network)
    open_root "$folder" "$layer" compilers base
    copy_tree $tree
    mount -t tmpfs downloads "$root/var/cache/apt/archives"
    OFFLINE=yes expect 1 "no network access to the package servers" -- jobs/setup.sh
    # Other releases are not touched: too old ones, and ones whose package names nobody has looked up.
    printf 'ID=ubuntu\nVERSION_ID="22.04"\nPRETTY_NAME="Ubuntu 22.04 LTS"\n' >"$root/etc/os-release"
    expect 1 "Ubuntu 22.04 LTS is too old to install them from" "parallel HDF5" -- jobs/setup.sh
    printf 'ID=ubuntu\nVERSION_ID="99.04"\nPRETTY_NAME="Ubuntu 99.04"\n' >"$root/etc/os-release"
    expect 1 "Ubuntu 99.04 is not a release whose package names are known" "libhdf5-openmpi-dev" -- jobs/setup.sh ;;
  quickstart)
    open_root "$folder" "$layer" compilers base
    copy_tree $tree
    expect 0 "stopped early, saved" "== Done in" -- jobs/quickstart.sh ;;
  *) echo "there is no state $state" >&2; exit 2 ;;
esac
echo "the state $state: passed in $SECONDS s"
