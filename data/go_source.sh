#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Source code: the Go 1.19 library and compiler, from the Debian package golang-1.19-src (18 MB to fetch, BSD licence). Only
# .go files are kept, in their folders. It is unpacked into FOLDER and not installed.
#
# usage: data/go_source.sh FOLDER      then: rondo prepare FOLDER --output go.h5 --tokenizer bytes
set -euo pipefail
folder=${1:?usage: data/go_source.sh FOLDER}
. "$(dirname "$(readlink -f "$0")")/fetch_package.sh"
fetch_package golang-1.19-src
mkdir -p "$folder"
folder=$(readlink -f "$folder")
(cd "$unpacked/usr/share" && find . -type f -name '*.go' -exec cp --parents {} "$folder"/ \;)
echo "go_source: $(find "$folder" -name '*.go' | wc -l) files, $(du -sh "$folder" | cut -f1) in $folder"
