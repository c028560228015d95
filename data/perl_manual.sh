#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Perl manual: about 9 MB of English technical prose in about 200 documents, from the Debian package perl-doc
# (GPL-1+ or Artistic). It is unpacked into FOLDER and not installed.
#
# usage: data/perl_manual.sh FOLDER
set -euo pipefail
folder=${1:?usage: data/perl_manual.sh FOLDER}
command -v apt-get >/dev/null && command -v dpkg >/dev/null || {
  echo "perl_manual: needs apt-get and dpkg; on other systems give a text of your own" >&2
  exit 1
}
mkdir -p "$folder"
folder=$(readlink -f "$folder")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

download() { apt-get -qq -o APT::Sandbox::User="$(id -un)" download perl-doc 2>"$work/log"; }
if ! download; then  # no package lists yet, or stale ones
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update
  download || { cat "$work/log" >&2; echo "perl_manual: the package perl-doc could not be fetched" >&2; exit 1; }
fi
dpkg -x perl-doc_*.deb unpacked
# perlcn, perljp, perlko and perltw are not in English.
find unpacked -name '*.pod' ! -name perlcn.pod ! -name perljp.pod ! -name perlko.pod ! -name perltw.pod -exec cp {} "$folder"/ \;
echo "perl_manual: $(find "$folder" -name '*.pod' | wc -l) documents, $(cat "$folder"/*.pod | wc -c) bytes in $folder"
