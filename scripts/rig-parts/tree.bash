# shellcheck shell=bash
# Part of scripts/rig: the emulated machine's root file system, which is its initramfs. The script sets `tree`, an empty
# folder, `kernel` and `vmlinux`, `module_tree` and `module_version`, `keeps_signatures` and `disks`.
# shellcheck disable=SC2154

# make_skeleton: as on a system with a merged /usr, so that a file has one path there.
make_skeleton() {
  local name
  mkdir -p "$tree"/{dev,etc,mnt,proc,rig/modules.d,root,run,sys,tmp,usr/{bin,lib,lib64,sbin},var/tmp}
  chmod 1777 "$tree"/{tmp,var/tmp}
  for name in bin lib lib64 sbin; do ln -s "usr/$name" "$tree/$name"; done
  cp "$busybox" "$tree/usr/bin/busybox"
  printf '%s\n' 'root:x:0:0:root:/:/bin/sh' 'nobody:x:65534:65534:nobody:/:/bin/false' >"$tree/etc/passwd"
  printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >"$tree/etc/group"
  printf '%s\n' 'passwd: files' 'group: files' 'hosts: files' >"$tree/etc/nsswitch.conf"
  printf '%s\n' '127.0.0.1 localhost' '::1 localhost' >"$tree/etc/hosts"
}

is_elf() { [ "$(head -c 4 "$1" | tr -d '\0')" = $'\x7fELF' ]; }

# copy FROM TO: an ELF file goes without its debugging information, which is most of a program: all files lie in the
# machine's memory. A module loses its signature with it; bochs takes seconds to check one, QEMU does not. Other files stay
# as they are, byte for byte: strip makes Xen's image unusable, since it computes the segment's size from sections alone.
copy() {
  cp -L "$1" "$2"
  if [[ $1 == *.ko ]]; then
    $keeps_signatures || strip --strip-debug "$2"
  elif is_elf "$1" && readelf -SW "$1" 2>/dev/null | grep -F .debug_ >/dev/null; then
    strip --strip-debug "$2"
  fi
}

is_disk() {
  local disk
  for disk in "${disks[@]}"; do [ "$disk" != "$1" ] || return 0; done
  return 1
}

# bring FILE: into the tree at its path; a program with the libraries that it loads, Debian's kernel unpacked.
bring() {
  local file from to library
  file=$(realpath -s "$1")
  from=$file
  [ "$file" != "$kernel" ] || from=$vmlinux
  to=$tree$file
  [ ! -e "$to" ] && ! is_disk "$file" || return 0
  mkdir -p "$(dirname "$to")"
  copy "$from" "$to"
  is_elf "$from" || return 0
  while read -r library; do
    bring "$library"
  done < <(ldd "$file" 2>/dev/null | grep -oE '/[^ ]+')
}

# bring_named WORD: a file, all files of a folder, or a program by its name.
bring_named() {
  local file program
  if [ -d "$1" ]; then
    while IFS= read -r -d '' file; do bring "$file"; done < <(find -L "$1" -type f -print0)
  elif [ -f "$1" ]; then
    bring "$1"
  elif [[ $1 != */* ]] && program=$(type -P "$1"); then
    bring "$program"
  else
    die "--bring $1: there is no such file, folder or program"
  fi
}

# bring_module NAME [PARAMETER...]: with the modules that it needs or suggests, which are loaded before it.
bring_module() {
  local name=$1 lines kind file parameters=${*:2}
  lines=$(modprobe -C /dev/null -d "$module_tree" -S "$module_version" --show-depends "$name" 2>/dev/null) ||
    die "the kernel $module_version has no module $name"
  while read -r kind file _; do
    [ "$kind" = insmod ] || continue # in the kernel itself
    [ -e "$tree/rig/modules.d/${file##*/}" ] || {
      copy "$file" "$tree/rig/modules.d/${file##*/}"
      echo "${file##*/}" >>"$tree/rig/modules"
    }
  done <<<"$lines"
  [ -z "$parameters" ] || sed -i "\$s|\$| $parameters|" "$tree/rig/modules"
}

# require_module NAME [PARAMETER...]: brings it, and the machine does not run the command without it.
require_module() {
  bring_module "$@"
  grep -qE "^${1//[-_]/[-_]}\.ko( |\$)" "$tree/rig/modules" || return 0
  echo "${1//-/_}" >>"$tree/rig/required"
}

# index_modules: makes the lists that modprobe reads. Several rigs may do so at once.
index_modules() {
  [ -e "$module_tree/lib/modules/$module_version/modules.devname" ] || depmod -b "$module_tree" "$module_version"
}

# add_applets: busybox's, except where a program of that name was brought.
add_applets() {
  local applet
  for applet in $("$busybox" --list); do
    [ -e "$tree/usr/bin/$applet" ] || [ -e "$tree/usr/sbin/$applet" ] || ln -s busybox "$tree/usr/bin/$applet"
  done
}

# write_orders LINGER COMMAND...: what /init reads (scripts/rig-parts/init).
write_orders() {
  local linger=$1 number
  shift
  printf 'directory=%s\nlinger=%s\n' "${PWD@Q}" "$linger" >"$tree/rig/settings"
  mkdir -p "$tree$PWD"
  for number in "${!disks[@]}"; do
    mkdir -p "$tree$(dirname "${disks[number]}")"
    echo "disk$number ${disks[number]}"
  done >"$tree/rig/disks"
  touch "$tree/rig/modules" "$tree/rig/required"
  printf 'exec %s\n' "${*@Q}" >"$tree/rig/command"
  install -m 755 "$root/scripts/rig-parts/init" "$tree/init"
}

pack_tree() { (cd "$tree" && find . | cpio --quiet -o -H newc); }
