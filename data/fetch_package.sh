# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts of this folder: gets a Debian package and unpacks it into a temporary folder, without installing it.

# fetch_package NAME: sets `unpacked`, which is removed when the script ends.
fetch_package() {
  local package=$1 script work as_root=()
  script=$(basename "$0")
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || {
    echo "$script: needs apt-get and dpkg; on other systems give data of your own" >&2
    exit 1
  }
  work=$(mktemp -d)
  trap 'rm -rf "'"$work"'"' EXIT
  download() { (cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$package" 2>"$work/log"); }
  if ! download; then # no package lists yet, or stale ones
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update
    download || {
      cat "$work/log" >&2
      echo "$script: the package $package could not be fetched" >&2
      exit 1
    }
  fi
  dpkg -x "$work/$package"_*.deb "$work/unpacked"
  unpacked=$work/unpacked
}
