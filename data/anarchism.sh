#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# English prose: "An Anarchist FAQ", a book of about 10 MB once the markup is gone, from the Debian package anarchism (GPL-2+
# or GFDL). It is unpacked into FOLDER and not installed.
#
# usage: data/anarchism.sh FOLDER      then: rondo prepare FOLDER --output anarchism.h5 --tokenizer bytes
set -euo pipefail
folder=${1:?usage: data/anarchism.sh FOLDER}
. "$(dirname "$(readlink -f "$0")")/fetch_package.sh"
fetch_package anarchism
mkdir -p "$folder"
find "$unpacked" -name '*.html' | while read -r page; do
  # tags and character entities out, empty lines joined
  sed -e ':tag' -e 's/<[^<>]*>//g' -e '/</{N;btag' -e '}' "$page" |
    sed -e 's/&amp;/\&/g; s/&lt;/</g; s/&gt;/>/g; s/&quot;/"/g; s/&nbsp;/ /g; s/&#[0-9]*;//g' | cat -s >"$folder/$(basename "$page" .html).txt"
done
echo "anarchism: $(find "$folder" -name '*.txt' | wc -l) pages, $(cat "$folder"/*.txt | wc -c) bytes in $folder"
