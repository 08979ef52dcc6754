# shellcheck shell=bash
# Part of scripts/rig: the machine under bochs. The script sets `megabytes`, `limit`, `host_kernel`, and `work`, the folder
# that has the initramfs and gets the file `status`.
# shellcheck disable=SC2154

# bochs starts from a CD. Without what takes long there and means nothing: firmware tables, buses, ciphers that test
# themselves.
make_cd() {
  mkdir -p "$work/cd/isolinux"
  cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/cd/isolinux/"
  cp "$host_kernel" "$work/cd/vmlinuz"
  mv "$work/initramfs" "$work/cd/initramfs"
  local words='console=ttyS1 quiet panic=-1 reboot=t acpi=off pci=off mitigations=off nokaslr nowatchdog tsc=reliable'
  words+=' cryptomgr.notests init_on_alloc=0'
  printf 'DEFAULT rig\nLABEL rig\n  KERNEL /vmlinuz\n  APPEND initrd=/initramfs %s\n' "$words" \
    >"$work/cd/isolinux/isolinux.cfg"
  quietly xorriso -as mkisofs -o "$work/cd.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$work/cd"
}

# Its serial ports are files, and Debian's bochs starts in its debugger. ips says how many instructions the machine takes
# for a second.
write_bochs_files() {
  cat >"$work/bochsrc" <<END
plugin_ctrl: serial=1, biosdev=1
cpu: model=corei7_haswell_4770, count=1, ips=20000000, reset_on_triple_fault=0
memory: guest=$megabytes, host=$megabytes
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$work/cd.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/output
com2: enabled=1, mode=file, dev=$work/complaints
com3: enabled=1, mode=file, dev=$work/status
clock: sync=none, time0=utc
display_library: term
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
END
  echo continue >"$work/debugger"
}

# The machine's screen is a pseudo terminal that bochs makes and names. Somebody has to read it: bochs paints it five
# times a second, and stands still when it is full.
read_screen() {
  local screen=''
  until [ -n "$screen" ]; do
    sleep 1
    kill -0 "$emulator" 2>/dev/null || return 0
    screen=$(sed -n 's|^Bochs connected to screen "\(/dev/pts/[0-9]*\)"$|\1|p' "$work/said")
  done
  cat "$screen" >/dev/null 2>&1 || true
}

# Switched off without firmware's help the machine only stops: bochs ends when the status is there.
run_ept() {
  local readers=()
  make_cd
  write_bochs_files
  touch "$work"/{output,complaints,status,said}
  TERM=xterm timeout --kill-after=5 "$limit" bochs-bin -q -f "$work/bochsrc" -rc "$work/debugger" \
    </dev/null >"$work/said" 2>&1 &
  emulator=$!
  read_screen &
  readers=($!)
  tail -c +1 -f --pid="$emulator" "$work/output" &
  readers+=($!)
  tail -c +1 -f --pid="$emulator" "$work/complaints" >&2 &
  readers+=($!)
  while kill -0 "$emulator" 2>/dev/null && ! grep -q '[0-9]' "$work/status"; do sleep 1; done
  end_emulator
  wait "$emulator" "${readers[@]}" || true
  grep -aE '^[0-9]+p' "$work/bochs.log" >&2 || true # why bochs gave up, if it did
}

