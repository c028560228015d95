#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packs a finished build for a machine without a package manager: the binaries, the GPU tests, Open MPI, HDF5 and all other libraries
# that they load, except the C library and those of the GPU; and the losses of CPU runs that GPU runs are compared with, which the packed
# program computes here in half a minute. The bundle contains jobs/gpu-check.sh, which starts everything.
#
# usage: jobs/bundle.sh BUILD OUTPUT.tar.gz TEST=RANKS...      (cmake --build --preset release --target bundle)
set -euo pipefail
[ $# -ge 2 ] || { sed -n '/^# usage/s/^# //p' "$0" >&2; exit 2; }
build=$(readlink -e "$1") output=$(readlink -f "$2")
shift 2
source=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/rondo-bundle
mkdir -p "$root"/{bin,lib,tests,runtime/lib,jobs,data}

install -s "$build/bin/rondo" "$root/bin/"
for library in librondo.so librondo_cuda.so; do
  if [ -e "$build/lib/$library" ]; then install -s "$build/lib/$library" "$root/lib/"; fi
done
for test in "$@"; do
  install -s "$build/tests/${test%=*}" "$root/tests/"
  echo "${test%=*} ${test#*=}" >>"$root/tests/list"
done
mkdir "$root/jobs/gpu_check"
cp "$source"/jobs/gpu-check.sh "$root/jobs/"
cp "$source"/jobs/gpu_check/*.py "$root/jobs/gpu_check/"
cp -r "$source/configs" "$root/"
cat "$source"/docs/*.md "$source"/docs/*/*.md "$source"/*.md >"$root/data/text.txt"  # text to train on
git -C "$source" describe --always --dirty >"$root/commit" 2>/dev/null || echo unknown >"$root/commit"

# Open MPI, in the layout that it expects below OPAL_PREFIX and similar variables (jobs/gpu_check/machine.py sets them).
path_of() { ompi_info --path "$1" --parsable | cut -d : -f 3; }
mkdir -p "$root"/runtime/{bin,openmpi,etc,share,pmix/lib}
cp -L "$(path_of bindir)/orterun" "$root/runtime/bin/mpirun"
cp -L "$(path_of bindir)/orted" "$root/runtime/bin/"
cp -rL "$(path_of pkglibdir)" "$root/runtime/openmpi/"
cp -rL "$(path_of pkgdatadir)" "$root/runtime/share/"
cp -L "$(path_of sysconfdir)/openmpi-mca-params.conf" "$root/runtime/etc/"
pmix=$(ldd "$(path_of pkglibdir)"/mca_pmix_*.so | sed -n 's/.*libpmix[^ ]* => \([^ ]*\).*/\1/p' | head -n 1)
if [ -n "$pmix" ]; then cp -rL "$(dirname "$(readlink -f "$pmix")")/pmix" "$root/runtime/pmix/lib/"; fi

# The libraries that all of these load. The C library and the dynamic loader must be the machine's own, as its driver is built for them.
{ find "$root" -type f \( -name '*.so*' -o -perm -u+x \) -exec ldd {} + 2>/dev/null || true; } |
  sed -n 's/.* => \(\/[^ ]*\) (.*/\1/p' | sort -u |
  grep -v -E '/(libc|libm|libdl|librt|libpthread|libresolv|libutil|ld-linux[^/]*|librondo|librondo_cuda|libcu(da|blas|dnn|pti)[^/]*|libnv[^/]*|libnccl)\.so' |
  xargs -I LIBRARY cp -L LIBRARY "$root/runtime/lib/"
# The machine may have newer ones; jobs/gpu-check.sh uses these if it does not.
mkdir "$root/runtime/fallback"
for library in libstdc++.so.6 libgcc_s.so.1; do
  if [ -e "$root/runtime/lib/$library" ]; then mv "$root/runtime/lib/$library" "$root/runtime/fallback/"; fi
done
find "$root/runtime" -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null || true

"$root/jobs/gpu-check.sh" --write-references "$root/reference-curves.json"

mkdir -p "$(dirname "$output")"
tar -C "$work" -cf - rondo-bundle | gzip -9 >"$output.partial"
mv "$output.partial" "$output"
bytes=$(stat -c %s "$output")
echo "bundle: $output, $((bytes / 1000000)) MB; there: tar xzf $(basename "$output") && rondo-bundle/jobs/gpu-check.sh"
[ "$bytes" -lt 60000000 ] || { echo "bundle: larger than 60 MB" >&2; exit 1; }
