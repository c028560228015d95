# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2016,SC2154
# Sourced by starting_state.sh inside mount and process namespaces of its own: whatever is mounted and started here ends with
# the script, however it ends. Makes root file systems of this machine's Debian or Ubuntu release:
#
#   base        what debootstrap calls minbase, with the packages that the tests install in its download cache
#   compilers   base with g++, CMake, Ninja, git and Python
#   everything  compilers after jobs/setup.sh
#
# Each is kept as a layer over the one before it. Where the kernel cannot stack file systems here, each is a whole copy.

kept_layers="base compilers everything"

# From where apt gets packages here; nothing about servers is written down in this repository.
targets() { apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' | grep '^Packages|' | sort -u; }

release() { (. /etc/os-release && echo "$VERSION_CODENAME"); }

# One index file of the release, by apt's own downloader and its proxy and certificates.
network_works() {
  local uri
  uri=$(targets | awk -F '|' -v release="$(release)" '$4 == release { print $3; exit }')
  [ -n "$uri" ] && /usr/lib/apt/apt-helper download-file "${uri%/}/dists/$(release)/InRelease" "$1/InRelease" >"$1/network.log" 2>&1
}

# Gives a root the name servers, apt's sources and settings, and the keys of this machine.
configure_network() {
  local root=$1
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  mkdir -p "$root/etc/ssl/certs" "$root/usr/share/keyrings"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || true
  cp -rL /etc/apt/trusted.gpg.d /etc/apt/auth.conf.d "$root/etc/apt/" 2>/dev/null || true
  cp -L /usr/share/keyrings/*archive* "$root/usr/share/keyrings/" 2>/dev/null || true
  rm -f "$root"/etc/apt/sources.list.d/*
  targets | awk -F '|' '$2 == "Debian" || $2 == "Ubuntu" { print "deb", $3, $4, $5 }' >"$root/etc/apt/sources.list"
  apt-config dump | grep -E '^Acquire::(http|https|ftp|Check-|Retries|ForceIPv)' >"$root/etc/apt/apt.conf.d/90-of-the-machine" || true
}

apt_in() { # ROOT ARGUMENT...
  inside "$1" / env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "${@:2}"
}

# inside ROOT FOLDER COMMAND...: with an environment that holds nothing of this machine's. AS=name runs it as that user,
# OFFLINE=yes without any network.
inside() {
  local root=$1 folder=$2 home=/root
  [ -z "${AS:-}" ] || home=/home/$AS
  shift 2
  ${OFFLINE:+unshare --net} chroot ${AS:+--userspec=$AS:$AS} "$root" env -i HOME="$home" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C TERM=dumb bash -c 'cd "$1" && shift && exec "$@"' bash "$folder" "$@"
}

mount_devices() {
  mount -t proc proc "$1/proc"
  mount --bind /sys "$1/sys"
  mount --bind /dev "$1/dev"
  mount -t tmpfs shm "$1/dev/shm"
}

make_base() { # FOLDER
  local root=$1/base/files uri
  [ ! -e "$1/base.done" ] || return 0
  rm -rf "$1/base"
  mkdir -p "$root"
  uri=$(targets | awk -F '|' -v release="$(release)" '$4 == release { print $3; exit }')
  debootstrap --variant=minbase "$(release)" "$root" "$uri" >"$1/debootstrap.log" 2>&1 || { tail -n 5 "$1/debootstrap.log" >&2; return 1; }
  configure_network "$root"
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/quick" # these roots need not survive a power failure
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod +x "$root/usr/sbin/policy-rc.d" # start no service
  mount_devices "$root"
  apt_in "$root" update
  # Downloaded once for all starting states.
  read -r -a packages <<<"$("$source_folder/jobs/setup.sh" --list)"
  apt_in "$root" install --download-only "${packages[@]}" git python3 mpich libmpich-dev libhdf5-dev
  umount "$root"/dev/shm "$root"/dev "$root"/sys "$root"/proc
  touch "$1/base.done"
}

# open_root FOLDER NAME LAYER...: sets `root` to the mounted system NAME, which begins as the topmost, first LAYER. Systems that
# no other begins from are kept in memory where there is enough.
open_root() {
  local folder=$1 name=$2 lower available
  shift 2
  root=$folder/mounted-$name
  rm -rf "${folder:?}/$name" "$root"
  mkdir -p "$folder/$name" "$root"
  available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
  [[ " $kept_layers " == *" $name "* ]] || [ "${available:-0}" -lt 6000000 ] || mount -t tmpfs system "$folder/$name"
  lower=$(printf ":$folder/%s/files" "$@")
  mkdir "$folder/$name/files" "$folder/$name/work"
  if [ "$stacked" = yes ]; then
    mount -t overlay overlay -o "lowerdir=${lower#:},upperdir=$folder/$name/files,workdir=$folder/$name/work" "$root"
  else
    cp -a --reflink=auto "$folder/$1/files/." "$folder/$name/files/"
    mount --bind "$folder/$name/files" "$root"
  fi
  mount_devices "$root"
}

can_stack() {
  local try=$1/try-to-stack
  rm -rf "$try" && mkdir -p "$try"/{a,b,c,d}
  if mount -t overlay overlay -o "lowerdir=$try/a,upperdir=$try/b,workdir=$try/c" "$try/d" 2>/dev/null; then
    umount "$try/d"
    echo yes
  else
    echo no
  fi
  rm -rf "$try"
}
