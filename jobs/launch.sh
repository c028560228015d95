#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Starts ranks of a program on this machine with the MPI launcher that is installed: the one place that knows the options of launchers.
# It knows Open MPI 4 and 5, MPICH and others with Hydra (Intel MPI), and SLURM's srun inside an allocation; others get -n alone.
#
# usage: jobs/launch.sh [--mpiexec LAUNCHER] [--tcp] [--quiet] [--print] -n RANKS PROGRAM [ARGUMENT...] [: -n RANKS PROGRAM [ARGUMENT...]]...
#
#   --mpiexec LAUNCHER the launcher; else $RONDO_MPIEXEC, else that of the build that contains PROGRAM, else mpiexec or mpirun of PATH
#   --tcp              the ranks communicate over the loopback interface instead of shared memory (Open MPI only)
#   --quiet            the launcher does not report the exit codes of the ranks
#   --print            prints the command, one word per line, instead of running it
#
# Ranks are not bound to cores, there may be more of them than cores, and root may start them. The launcher replaces this
# process: its process id and its exit code are those of this script.
set -euo pipefail

usage() { echo "usage: jobs/launch.sh [--mpiexec LAUNCHER] [--tcp] [--quiet] [--print] -n RANKS PROGRAM [ARGUMENT...]" >&2; exit 2; }

mpiexec=${RONDO_MPIEXEC:-} print=no tcp=no quiet=no
while [ $# -gt 0 ]; do
  case "$1" in
    --mpiexec) mpiexec=${2:?--mpiexec needs a program}; shift 2 ;;
    --tcp) tcp=yes; shift ;;
    --quiet) quiet=yes; shift ;;
    --print) print=yes; shift ;;
    -n) break ;;
    *) usage ;;
  esac
done
[ $# -ge 3 ] || usage
if [ -z "$mpiexec" ] && program=$(command -v "$3"); then  # BUILD/bin/PROGRAM: the mpiexec in PATH may be of another MPI
  cache=$(dirname "$(dirname "$(readlink -f "$program")")")/CMakeCache.txt
  [ ! -f "$cache" ] || mpiexec=$(sed -n 's/^MPIEXEC_EXECUTABLE:[^=]*=//p' "$cache")
fi
if [ -z "$mpiexec" ]; then
  mpiexec=$(command -v mpiexec || command -v mpirun || true)
  [ -n "$mpiexec" ] || { echo "launch: neither mpiexec nor mpirun is in PATH: load an MPI module, or name the launcher with --mpiexec" >&2; exit 4; }
fi
version=$("$mpiexec" --version 2>&1) || { echo "launch: $mpiexec --version failed: ${version%%$'\n'*}" >&2; exit 4; }

case "$version" in
  *"Open MPI) 4."*|*"OpenRTE) 4."*) kind=open_mpi options=(--oversubscribe --bind-to none) ;;
  *"Open MPI) "[5-9].*|*prte*|*PRRTE*) kind=open_mpi options=(--map-by :OVERSUBSCRIBE --bind-to none) ;;  # --oversubscribe is deprecated
  *HYDRA*|*"Intel(R) MPI"*) kind=hydra options=(-bind-to none) ;;
  slurm*) kind=srun options=(--cpu-bind=none --overcommit --overlap) ;;
  *)  # the MPI standard suggests mpiexec -n, so most others understand that
    kind=other options=()
    echo "launch: $mpiexec is of no MPI known here (${version%%$'\n'*}): it is given -n and nothing else" >&2 ;;
esac
if [ $kind = open_mpi ]; then
  [ "$(id -u)" -ne 0 ] || options+=(--allow-run-as-root)
  [ $tcp = no ] || options+=(--mca btl self,tcp --mca btl_tcp_if_include lo)
  [ $quiet = no ] || options+=(--quiet)
elif [ $tcp = yes ]; then
  echo "launch: --tcp is known for Open MPI only" >&2
  exit 2
fi
if [ $kind = srun ]; then
  for word in "$@"; do [ "$word" != : ] || { echo "launch: srun starts one program for all ranks" >&2; exit 2; }; done
fi
if [ $print = yes ]; then
  printf '%s\n' "$mpiexec" "${options[@]}" "$@"
else
  exec "$mpiexec" "${options[@]}" "$@"
fi
