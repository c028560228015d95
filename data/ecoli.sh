#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A bacterium's genome: Escherichia coli 536 (NC_008253), 4.9 million bases in one FASTA record, from the Debian package
# bowtie-examples. It is unpacked into FOLDER and not installed.
#
# usage: data/ecoli.sh FOLDER      then: rondo prepare FOLDER --output ecoli.h5 --tokenizer dna
set -euo pipefail
folder=${1:?usage: data/ecoli.sh FOLDER}
. "$(dirname "$(readlink -f "$0")")/fetch_package.sh"
fetch_package bowtie-examples
mkdir -p "$folder"
find "$unpacked" -name 'NC_008253.fna*' -exec cp {} "$folder"/ \;
[ -n "$(ls "$folder")" ] || { echo "ecoli: NC_008253 is not in the package" >&2; exit 1; }
ls -l "$folder"
