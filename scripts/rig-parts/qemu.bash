# shellcheck shell=bash
# Part of scripts/rig: the machine under QEMU. The script sets `cpu`, `clock`, `processors`, `megabytes`, `limit`, `disks`,
# `read_only`, `kernel`, `vmlinux`, and `work`, the folder that has the initramfs and gets the file `status`.
# shellcheck disable=SC2154

# qemu: the words that start QEMU.
is_new_enough() { # VERSION of QEMU for more than one processor?
  [[ $1 =~ version\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= 10))
}
# A program of another release runs with that release's loader and libraries, without chroot.
use_qemu_of_root() {
  local libraries=$1/usr/lib/x86_64-linux-gnu
  qemu=("$1/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" "$1/usr/bin/qemu-system-x86_64"
    -L "$1/usr/share/qemu" -L "$1/usr/share/seabios")
  is_new_enough "$("${qemu[@]}" --version 2>&1)" || die "no QEMU 10 that runs in $1"
}
make_qemu_root() {
  local part
  there mmdebstrap || quietly as_root apt-get -qq install --no-install-recommends mmdebstrap ||
    die "--smp needs QEMU 10, and mmdebstrap, which would fetch it, can't be installed"
  say "unpacking Debian 13's QEMU into $1"
  mkdir -p "$images"
  part=$(mktemp -d "$1.XXXXXX")
  quietly mmdebstrap --variant=extract --include=qemu-system-x86 trixie "$part" ||
    { rm -rf "$part" && die "--smp needs QEMU 10, and mmdebstrap can't fetch Debian 13's"; }
  mv -T "$part" "$1" 2>/dev/null || rm -rf "$part" # another rig was first
}
find_qemu() {
  local own_root=$images/qemu-root
  qemu=(qemu-system-x86_64)
  if [ "$processors" = 1 ]; then
    there qemu-system-x86_64 || "$root/scripts/setup" --rig
  elif [ -n "${PINFOLD_QEMU_ROOT-}" ]; then
    use_qemu_of_root "$PINFOLD_QEMU_ROOT"
  elif ! is_new_enough "$(qemu-system-x86_64 --version 2>&1)"; then
    [ -e "$own_root" ] || make_qemu_root "$own_root"
    use_qemu_of_root "$own_root"
  fi
}

# The kernel unpacked, as an ELF file, which QEMU starts at its PVH entry: unpacking takes a minute over there.
# The payload's place is in the setup header (Linux, Documentation/x86/boot.rst).
field() { od -A n -j "$1" -N "$2" -t "u$2" "$kernel" | tr -d ' '; }
unpack_kernel() { # several rigs may do so at once, each into a file of its own
  local length part
  part=$(mktemp "$vmlinux.XXXXXX")
  length=$(field 0x24c 4)
  head -c $((($(field 0x1f1 1) + 1) * 512 + $(field 0x248 4) + length)) "$kernel" | tail -c "$length" |
    xz -dc --single-stream >"$part"
  mv "$part" "$vmlinux"
}
# end_unless_started: ends QEMU after a while if the machine's first process has said nothing by then.
start_limit=${PINFOLD_RIG_START_LIMIT:-240}
end_unless_started() {
  local second
  for ((second = 0; second < start_limit; ++second)); do sleep 1; done
  if ! [ -s "$work/status" ]; then
    touch "$work/stuck"
    kill "$(cat "$work/pid")"
  fi
}

# disk_words: QEMU's words for the disks. What the machine wrote is in the file when QEMU has ended. The serial number is
# how the machine finds the path of a disk (scripts/rig-parts/init).
disk_words() {
  local number
  for number in "${!disks[@]}"; do
    printf '%s\n' -drive \
      "if=none,id=disk$number,format=raw,discard=unmap,readonly=${read_only[number]},file=${disks[number]//,/,,}" \
      -device "virtio-blk-pci,drive=disk$number,serial=disk$number"
  done
}

# Where complaints go may be a file that others write to: append.
run_npt() {
  # shellcheck disable=SC2054,SC2206 # the commas are QEMU's; the options are words
  local machine=(
    -accel tcg "${clock[@]}" -cpu "$cpu" -smp "$processors" -m "$megabytes" -nodefaults -no-reboot -display none
    -kernel "$vmlinux" -initrd "$work/initramfs" -append 'console=ttyS1 quiet panic=-1 no_timer_check'
    -chardev stdio,id=output,signal=on -serial chardev:output
    -chardev file,id=complaints,path=/dev/fd/2,append=on -serial chardev:complaints
    -chardev file,id=status,path="$work/status" -serial chardev:status -pidfile "$work/pid"
    ${PINFOLD_QEMU_OPTIONS-}
  )
  local status=0 watcher words=()
  mapfile -t words < <(disk_words)
  end_unless_started >/dev/null 2>&1 &
  watcher=$!
  timeout --foreground --kill-after=5 "$limit" "${qemu[@]}" "${machine[@]}" "${words[@]}" || status=$?
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  case $status in
    0) ;; # switched off, or started again after a panic
    124 | 137) say "the machine was ended after $limit s, its limit (-t)" ;;
    *) say "QEMU ended with $status" ;;
  esac
}

