#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Perl manual: about 9 MB of English technical prose in about 200 documents, from the Debian package perl-doc
# (GPL-1+ or Artistic). It is unpacked into FOLDER and not installed.
#
# usage: data/perl_manual.sh FOLDER
set -euo pipefail
folder=${1:?usage: data/perl_manual.sh FOLDER}
source "$(dirname "$(readlink -f "$0")")/fetch_package.sh"
mkdir -p "$folder"
folder=$(readlink -f "$folder")
fetch_package perl-doc
# perlcn, perljp, perlko and perltw are not in English.
find "$unpacked" -name '*.pod' ! -name perlcn.pod ! -name perljp.pod ! -name perlko.pod ! -name perltw.pod -exec cp {} "$folder"/ \;
echo "perl_manual: $(find "$folder" -name '*.pod' | wc -l) documents, $(cat "$folder"/*.pod | wc -c) bytes in $folder"
