#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A long stretch of human DNA: 71 million bases of chromosome X (hs37) in one FASTA record, from the Debian package
# smalt-examples (72 MB to fetch). It is unpacked into FOLDER and not installed.
#
# usage: data/human_x.sh FOLDER      then: rondo prepare FOLDER --output human_x.h5 --tokenizer dna
set -euo pipefail
folder=${1:?usage: data/human_x.sh FOLDER}
. "$(dirname "$(readlink -f "$0")")/fetch_package.sh"
fetch_package smalt-examples
mkdir -p "$folder"
find "$unpacked" -name 'hs37chrXtrunc*' -exec cp {} "$folder"/ \;
[ -n "$(ls "$folder")" ] || { echo "human_x: hs37chrXtrunc is not in the package" >&2; exit 1; }
ls -l "$folder"
