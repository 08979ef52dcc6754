# Shared by the scripts in this folder; sourced, never run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
images=$root/build/images
# Variables that only the sourcing scripts read.
export root images
# A copy of the sources elsewhere (scripts/mutants) finds in the compiler's cache what these were built to.
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  say "$*"
  exit 1
}
# usage_from_header: prints the comment block that opens the calling script.
usage_from_header() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

# as_root COMMAND...: runs it as root, through sudo where needed.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "needs root for: $*"
  fi
}

# quietly COMMAND...: shows what it printed only when it fails.
quietly() {
  local output
  if ! output=$("$@" 2>&1); then
    printf '%s\n' "$output" >&2
    return 1
  fi
}

# one_at_a_time: waits until no other run of the calling script makes things for this tree; the lock goes with the process.
one_at_a_time() {
  mkdir -p "$images"
  exec {lock}>"$images/${0##*/}.lock"
  flock "$lock"
}

apt_update() {
  say "apt-get update"
  quietly as_root apt-get -qq update
}

# Package lists are needed; a minimal system starts without any.
apt_lists_exist() {
  local lists=(/var/lib/apt/lists/*_Packages*)
  [ -e "${lists[0]}" ]
}

# fetch_package PACKAGE DIRECTORY: downloads the .deb of PACKAGE (a name or name=version) into DIRECTORY, installs
# nothing. Lists may be older than the archive (then the download answers 404), so a failure gets one apt-get update.
fetch_package() {
  mkdir -p "$2"
  apt_lists_exist || apt_update
  if ! (cd "$2" && apt-get -qq download "$1" >/dev/null 2>&1); then
    apt_update
    (cd "$2" && quietly apt-get -qq download "$1")
  fi
}

# configure PRESET: once; the build repeats it where a CMakeLists.txt has changed.
configure() {
  [ -e "$root/build/$1/build.ninja" ] || (cd "$root" && quietly cmake --preset "$1")
}

# build_pinfold: the program alone; on failure, what the compiler said.
build_pinfold() {
  configure release
  (cd "$root" && quietly cmake --build --preset release --target pinfold) || die "the build failed"
}
