"""The table of guest tests: what each runs, and what its run has to show. CTest's tests guest.NAME and the program
for the emulated machine are both made from ROWS. A row runs on this machine's /dev/kvm and on the emulated
machine, unless `on` says otherwise. Two rows may have the same name, one for each machine, if the emulated machine
is too slow for what the other does.

Python and grep -E both read the patterns, so a pattern has to mean the same to both.
"""
import re

from harness.guest_test import GuestTest, Host, NextDoorTest, Row, ScriptTest

HOLD = "all [0-9]+ checks hold"  # the guest's own checks
AUDITED = "audit: .* no reference left"  # all counts and mirrors were right at the end
WELL = (HOLD, AUDITED)
REGISTERS = "rip [0-9a-f]+  cs [0-9a-f]+"
PROTECTIONS = ("mprotect", "userfaultfd")  # the two ways in which a view write-protects a frame


def well(name: str, options: str = "--audit", *says: str, guest: str = "", **more) -> GuestTest:
    """A guest that checks itself and powers off, with an audit. `guest` defaults to the test's name."""
    return GuestTest(name, guest or name.replace(".", "_"), options, says=(*WELL, *says), **more)


def unaudited(name: str, options: str, *says: str, guest: str = "", **more) -> GuestTest:
    return GuestTest(name, guest or name.replace(".", "_"), options, says=says, **more)


BOOTS = [
    *(well(f"boots.{name}", quiet=True) for name in (
        "powers_off", "list_outlives_its_root", "exceptions", "frames_are_alike", "iret_restores_registers", "timer_events",
        "user_round_trip", "user_roots")),
    # It reads its tables 50,000 times through linear entries.
    well("boots.recursive_slot", "--audit --stats", exits_at_most=500),
    # Some 10,000 changes of page tables, of which the gate leaves the VM for few.
    well("boots.updates_in_the_vm", "--audit --stats", exits_at_most=400),
    # More tables than a process may have mappings. The emulated machine has too little memory for this.
    well("boots.hundred_thousand_tables", "--audit --memory 3400M", on=Host.KVM),
    # Nearly all of the guest's memory is page tables.
    well("boots.all_memory_is_tables", "--audit --memory 64M", quiet=True),
    # The load of scripts/bench-neighbours, for one round.
    well("machine.changes_tables"),
    # A machine that stays as it is; unit.cli.Host has one that grows.
    well("boots.machine_grows", quiet=True),
    # Memory below and above the frames that KVM reserves for itself.
    well("boots.more_than_4_gib", "--audit --memory 4200M", quiet=True),
    # Thousands of system calls, exceptions and returns. The gate finishes them in the VM, so there are hardly any
    # exits.
    well("boots.round_trips", "--audit --stats", exits_at_most=60),
    # A thousand page faults of a program. The guest's kernel makes 1,500 hypercalls for them, and there are no other
    # exits.
    well("boots.page_faults", "--audit --stats", exits_at_most=1600),
    # CR0.TS does not work on every host. It works on the emulated machine.
    unaudited("boots.fpu_task_switch", "", HOLD, on=Host.RIG),
    # One SYSCALL takes one entry into the guest.
    unaudited("boots.system_calls_leave_at_once", "--stats", "slow_syscalls +0", guest="refused_calls"),
    unaudited("boots.uuid", "", HOLD, "^uuid [0-9a-f-]*-4[0-9a-f-]*"),
    unaudited("boots.uuid.given", "--uuid 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
              HOLD, "^uuid 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", guest="boots_uuid"),
    well("boots.big_trees_in_pieces", "--audit --stats", "continuations +[1-9]"),
    *(well(f"boots.work_in_pieces.{vcpus}", f"--audit --vcpus {vcpus} --append vcpus={vcpus}", guest="boots_work_in_pieces")
      for vcpus in (1, 32)),
    unaudited("boots.with_hypercall_page", "", HOLD),
]

# Requests of a kernel that are refused.
REFUSED = [*(well(f"refused.{name}", quiet=True) for name in (
    "writable_mappings_of_tables", "pins", "frames", "entries", "roots", "bad_arguments", "calls",
    "requests_in_the_hypervisors_range", "returns", "ports", "stores_into_tables", "mmu_arguments", "lists_in_tables", "shared_frames",
    "descriptor_arguments", "ldt_pages", "memory_arguments", "linear_tables")),
    # The machine has frames that the guest may get later, but not yet.
    well("refused.balloon", "--audit --memory 32M --maxmem 48M --append most=48", quiet=True),
    well("refused.balloon.full", "--audit", guest="refused_balloon", quiet=True)]

# The advisories of docs/xsa.md.
XSA = [
    *(well(f"xsa.{name}", quiet=True) for name in (
        "page_tables", "iret_in_multicall", "user_mode", "stale_tables", "reservation", "traps", "leaks", "vcpus_and_events",
        "grants")),
    # More holes in the view than a process may have mappings (vm.max_map_count).
    well("xsa.scattered_frames", "--audit --memory 640M"),
]

# Grants of a guest to itself; Xen gives the same answers.
GRANTS = [*(well(f"grants.{name}", quiet=True) for name in ("copies", "maps", "table")),
          # An exit for each of some 3,000 grant operations, 1,000 events, and their returns.
          well("grants.costs", "--audit --vcpus 2 --stats --append sleeper", "^cost: copy of a page: [0-9]+")]

# Debug registers, CR4 and RFLAGS. Debug registers do not act on every host, and not in QEMU before version 9.
GATES = (("fast", ""), ("plain", " --plain-gate"))
DEBUG = [
    *(well(f"debug.{name}.{gate}", f"--audit{options} --append maybe", guest=f"debug_{name}")
      for name in ("breakpoints", "gates_accesses", "held_back") for gate, options in GATES),
    *(well(f"debug.{name}.{gate}", f"--audit{options}", guest=f"debug_{name}", on=Host.RIG_SMP | Host.RIG_EPT)
      for name in ("breakpoints", "gates_accesses", "held_back") for gate, options in GATES),
    *(well(f"debug.flags.{gate}", f"--audit{options} --append maybe", guest="debug_flags", on=Host.KVM) for gate, options in GATES),
    *(well(f"debug.flags.{gate}", f"--audit{options}", guest="debug_flags", on=Host.RIG | Host.RIG_SMP) for gate, options in GATES),
    well("debug.ports"),
    *(well(f"debug.steps.{gate}", f"--audit{options}", guest="debug_steps") for gate, options in GATES),
    *(well(f"debug.segment_bases.{gate}", f"--audit{options}", guest="debug_segment_bases", on=Host.KVM) for gate, options in GATES),
    # 6,000 reads and writes of bases by RDMSR and WRMSR, of which the gate leaves the VM for none.
    well("debug.segment_bases.fast", "--audit --stats --append fsgsbase", guest="debug_segment_bases", on=Host.RIG | Host.RIG_SMP,
         exits_at_most=300),
    well("debug.segment_bases.plain", "--audit --plain-gate --append fsgsbase", guest="debug_segment_bases",
         on=Host.RIG | Host.RIG_SMP),
]

VCPUS = [
    *(well(f"vcpus.{name}", "--audit --vcpus 2") for name in (
        "bring_up", "flushes_reach_all", "no_store_after_a_flush", "reads_tables_that_change", "sleeps_on_a_root_that_went",
        "tables_come_and_go", "updates_together", "roots_together", "assist_at_once")),
    well("vcpus.short_lists", "--audit --vcpus 4"),
    # The same with a gate that stays inside for longer than anybody spins.
    well("vcpus.short_lists.dawdling", "--audit --vcpus 4 --append few", guest="vcpus_short_lists", monitor="pinfold_dawdling_gate",
         on=Host.RIG | Host.RIG_SMP),
    *(well(f"vcpus.nmi.{gate}", options, guest="vcpus_nmi")
      for gate, options in (("fast", "--audit --vcpus 2"), ("plain", "--audit --vcpus 2 --plain-gate"))),
    *(well(f"vcpus.nmi_and_upcalls.{gate}", options, guest="vcpus_nmi_and_upcalls")
      for gate, options in (("fast", "--audit"), ("plain", "--audit --plain-gate"))),
    # Two of the three vCPUs start on page tables that are so large that they are validated in pieces.
    well("vcpus.starts_on_big_trees", "--audit --stats --vcpus 3", "continuations +[1-9]"),
    well("vcpus.wakes_on_a_root_that_went", "--audit --vcpus 3"),
    unaudited("vcpus.wakes_on_a_root_that_went.long", "--vcpus 3 --append pairs=32768", HOLD,
              guest="vcpus_wakes_on_a_root_that_went", on=Host.RIG_SMP),
    well("vcpus.ends_from_any_state", "--audit --vcpus 7"),
    GuestTest("vcpus.watchdog_ends_any_state", "vcpus_ends_from_any_state", "--audit --vcpus 7 --append watchdog", exit=5,
              says=("are in their states", "pinfold: the guest watchdog fired", AUDITED)),
]

# A sleeping vCPU wakes up a few times, not thousands of times, whatever its deadline is.
TIME = [*(well(f"time.{name}", "--audit --stats --vcpus 2", "^sleeps_begun_again +[0-9]?[0-9]$") for name in ("clocks", "tick")),
        # How many is for a machine that counts instructions; that each call is made is for any.
        well("time.updates", "--audit", "ticks: left to the monitor [0-9]+$", "ticks: set, entries: 1: [0-9]+$",
             "ticks: made read-only, entries: 32: [0-9]+$", "ticks: root [0-9]+$")]

# Event channels: both ABIs work, and no wake-up is lost.
EVENTS = [
    well("events.fifo", quiet=True),
    well("events.two_level", "--audit --vcpus 2", quiet=True),
    *(unaudited(f"events.wakeups.{way}", f"--vcpus 2 --append '{way} pairs={pairs}'", f"pairs {pairs}", HOLD,
                guest="events_wakeups", on=Host.KVM)
      for way, pairs in (("block", 10000), ("poll", 10000), ("fifo", 10000), ("awake", 500))),
    unaudited("events.wakeups.block", "--vcpus 2 --append 'block pairs=500'", HOLD, guest="events_wakeups", on=Host.RIG),
    *(unaudited(f"events.wakeups.{way}.long", f"--vcpus 2 --append '{way} pairs=5000'", HOLD, guest="events_wakeups",
                on=Host.RIG_SMP)
      for way in ("block", "poll", "fifo")),
    # More vCPUs than a host usually has processors.
    unaudited("events.contended_lock", "--vcpus 16 --append 'vcpus=16 rounds=150'", "slept [1-9][0-9]* times", HOLD,
              on=Host.KVM),
    unaudited("events.contended_lock.long", "--vcpus 8 --append 'vcpus=8 rounds=150'", HOLD, guest="events_contended_lock",
              on=Host.RIG_SMP),
]


def bad(name: str, options: str, *says: str, guest: str = "") -> GuestTest:
    """A guest that crashes: the program says why, shows the registers, and exits with 5."""
    return GuestTest(f"bad.{name}", f"bad_{guest or name}", options, exit=5, says=says)


# The backends of devices, attacked by frontends that drive their rings by hand. The disk is the guest's kernel file.
# The network is a wire between two interfaces of the guest.
WIRE = "--vif net=listen:unix:{kernel}.wire --vif net=connect:unix:{kernel}.wire"
DEVICES = [
    well("disk.attacks", "--audit --disk {kernel},raw,xvda,ro", "races: "),
    well("net.transmits", f"--audit {WIRE}"),
    well("net.receives", f"--audit --vcpus 2 {WIRE}", "races: "),
]

# The address of the frame that can't be written. If pinfold did write it, a later frame would fail at another
# address.
FRAME_OF_THE_USERS_STACK = {"there": "0xffff8100002241c8", "nowhere": "0x7fffffffffc8"}
BAD = [
    bad("jumps_to_nowhere", "", "pinfold: the guest took exception 14 .*has no handler", REGISTERS, "rbx 000000000000cafe"),
    bad("has_no_kernel_stack", "", "kernel's stack at 0x[0-9a-f]+ can't take", REGISTERS),
    bad("stack_is_a_page_table", "", "kernel's stack at 0x[0-9a-f]+ can't take", REGISTERS),
    bad("stack_in_the_hypervisors_range", "", "kernel's stack at 0xffff804000000fc8 can't take", REGISTERS),
    bad("handler_in_the_hypervisors_range", "", "can't take an exception frame", REGISTERS),
    *(bad(f"users_stack_in_the_hypervisors_range.{option}", f"--append {option}", f"kernel's stack at {frame} can't take",
          REGISTERS, guest="users_stack_in_the_hypervisors_range")
      for option, frame in FRAME_OF_THE_USERS_STACK.items()),
    *(bad(f"users_stack_in_the_hypervisors_range.iret-{option}", f"--append iret-{option}", "iret frame can't be read",
          REGISTERS, guest="users_stack_in_the_hypervisors_range")
      for option in FRAME_OF_THE_USERS_STACK),
    bad("enters_user_mode_without_root", "", "to user mode without a user page table", REGISTERS),
    bad("user_runs_into_nowhere", "", "the guest took exception 14 .*address 0x123456.*has no handler",
        "vCPU 0 in guest user mode", REGISTERS),
    bad("loads_an_empty_root", "", "can't take an exception frame", REGISTERS),
    *(bad(f"asks_for_the_refused_forever.{option}", f"--append {option}", "refused MMU requests in a row", REGISTERS,
          guest="asks_for_the_refused_forever")
      for option in ("one", "mixed")),
    bad("reports_a_crash", "--append crash", "the guest reported a crash", REGISTERS, guest="shuts_down"),
    bad("crash_names_functions", "--append crash --vmlinux {kernel}", "call trace of vCPU 0",
        "^ +[0-9a-f]+ kit_hypercall", "^  [?] [0-9a-f]+ kit_main[+]0x", guest="shuts_down"),
    bad("crash_shows_every_vcpu", "--vcpus 2 --vmlinux {kernel}", "the guest reported a crash",
        "^vCPU 0 in guest kernel mode", "^vCPU 1 in guest kernel mode", "rbx 000000000000beef", "call trace of vCPU 1",
        "works_on", guest="crashes_with_two_vcpus"),
    bad("watchdog_fires", "--append watchdog", "the guest watchdog fired", REGISTERS, guest="shuts_down"),
]

ENDS = [
    unaudited("ends.asks_for_a_reboot", "--append reboot --on-reboot destroy", "the guest asked for a reboot",
              guest="bad_shuts_down"),
    unaudited("ends.announced_reason_counts", "--append announced --on-reboot destroy", "the guest asked for a reboot",
              guest="bad_shuts_down"),
    unaudited("ends.asks_to_be_suspended", "--append suspend", "the guest asked to be suspended", guest="bad_shuts_down"),
    ScriptTest("ends.unknown_host_is_refused", "unknown_host/refuses", ("pinfold_unknown_host", "guest_boots_powers_off"),
               limit=120),
]

# A host on which SYSCALL does not leave the VM. Programs can use the gate's port there.
OPEN_PORT = {"monitor": "pinfold_open_port", "on": Host.KVM}
# Unprivileged programs that try to confuse the monitor or to end their guest. The guest lives, and its checks hold.
HOSTILE = [
    well("hostile.behind_a_breakpoint.events", guest="hostile_behind_a_breakpoint"),
    well("hostile.behind_a_breakpoint.taken", "--audit --append breakpoints", guest="hostile_behind_a_breakpoint"),
    well("hostile.behind_a_breakpoint.flush", "--audit --vcpus 2", guest="hostile_flush_behind_a_breakpoint"),
    # Seconds on an idle host, but each of their events is some exits: where they share a processor, a minute was seen.
    *(well(f"hostile.{name}.{gate}", options, guest=f"hostile_{name}", limit=600)
      for gate, options in (("fast", "--audit"), ("plain", "--audit --plain-gate")) for name in ("odd_instructions", "ports")),
    # Each address of the gate four times, or once on the emulated machine.
    *(well(f"hostile.jumps_into_the_gate.{gate}", f"--audit{options} --append rounds={rounds}",
           guest="hostile_jumps_into_the_gate", on=on, limit=600)
      for rounds, on in ((20000, Host.KVM), (5000, Host.RIG)) for gate, options in GATES),
    *(well(f"hostile.stops_behind_mov_ss.{gate}", f"--audit{options} --append rounds={rounds}",
           guest="hostile_stops_behind_mov_ss", on=on)
      for rounds, on in ((20000, Host.KVM), (3000, Host.RIG)) for gate, options in GATES),
    unaudited("hostile.same_place_faults", "", HOLD, on=Host.KVM),
    well("hostile.same_place_faults.few", "--audit --audit-interval 1000 --append faults=3000",
         guest="hostile_same_place_faults"),
    *(well(f"hostile.open_port.{guest.replace('_', '.')}", guest=guest, **OPEN_PORT)
      for guest in ("refused_calls", "boots_user_round_trip", "boots_exceptions")),
    well("hostile.forged_calls"),
    well("hostile.open_port.forged_calls", "--audit", "calls [1-9]", guest="hostile_forged_calls", **OPEN_PORT),
    well("hostile.open_port.ports", "--audit --stats --append open-port", "slow_syscalls +[1-9]", guest="hostile_ports",
         **OPEN_PORT),
]


def fallen(name: str, monitor: str, options: str, *says: str, guest: str, on: Host = Host.KVM | Host.RIG) -> GuestTest:
    """One wall is broken, in a monitor that is built for this test; another wall stops the guest."""
    return GuestTest(f"walls.{name}", f"walls_{guest}", options, exit=6, says=says, monitor=f"pinfold_{monitor}", on=on)


UNVALIDATED = "THE VALIDATOR IS SWITCHED OFF"
# The gate itself reads lists of hypercalls. The view stops it there, at an instruction that is no guest's.
STOPPED_IN_THE_GATE = "pinfold: (guest: )?the guest touched a frame that its view keeps from it"
# Without wall 1: the validator approves everything, and the view stops the guest.
VIEW_ALONE = [
    *(fallen(f"store_into_own_page_table.{way}.{protection}", "unvalidated",
             f"--write-protection {protection} --append {way}", UNVALIDATED, "mapped its own table writable",
             "pinfold: the guest tried to write frame 0x[0-9a-f]+ .*typed l[14] .*its view does not", REGISTERS,
             guest="store_into_own_page_table")
      for protection in PROTECTIONS for way in ("l1", "l4", "by-hypercall")),
    *(fallen(f"map_foreign_frame.{way}.{protection}", "unvalidated",
             f"--write-protection {protection} --append {way}", UNVALIDATED, "mapped a frame that is not its own",
             "pinfold: the guest tried to (read|write|execute) frame 0x[0-9a-f]+ .*nobody's"
             + (f"|{STOPPED_IN_THE_GATE}" if way == "by-hypercall" else ""), REGISTERS,
             guest="map_foreign_frame")
      for protection in PROTECTIONS for way in ("read", "write", "execute", "by-hypercall")),
]

# Wall 2 alone: without the validator and the view, a guest can write its page tables, but the processor does not use
# them. The monitor compares entry and mirror at each fault that it sees; with the plain gate it sees all faults.
NEVER_CHECKED = "pinfold: slot [0-9]+ of the table in frame .* never checked"
MIRROR_ALONE = [
    *(fallen(f"forge_entries.replaced.{protection}", "mirror_only", f"--write-protection {protection} --plain-gate",
             UNVALIDATED, "the processor did not follow a forged entry", NEVER_CHECKED, guest="forge_entries")
      for protection in PROTECTIONS),
    *(fallen(f"forge_entries.{way}.{protection}", "mirror_only",
             f"--write-protection {protection} --plain-gate --append {way}", UNVALIDATED, "about to use the forged entry",
             NEVER_CHECKED, REGISTERS, guest="forge_entries")
      for protection in PROTECTIONS for way in ("new", "clean", "foreign")),
]

# Wall 3 alone: the gate runs the guest's code at CPL0, on page tables that the guest made.
LEAVES_THE_GATE = "about to leave the gate's path"
RAN_AT_CPL0 = "pinfold: code at CPL0 of the domain's VM ran .*its view held"
# A frame that the view gives up would leave the guest running, which ends with RAN_AT_CPL0 as well.
STOPPED_BY_THE_VIEW = "pinfold: .*its view (does not permit|keeps)"
THE_MONITORS_FRAME = "tried to write frame 0x[0-9a-f]+, which is the monitor's; its view does not permit it"
FALLEN_GATE = [
    *(fallen(f"fallen_gate.{way}.{protection}", "fallen_gate",
             f"--write-protection {protection} --plain-gate --append {way}", "THE GATE IS THE GUEST'S", LEAVES_THE_GATE,
             says, REGISTERS, guest="fallen_gate")
      for protection in PROTECTIONS
      for way, says in (*((way, STOPPED_BY_THE_VIEW) for way in ("own-l1", "own-l4", "read", "write")),
                        *((way, "pinfold: .*its view (does not|keeps|held)") for way in ("execute", "root")))),
    # By what the resident path has mapped, which is there with two-dimensional paging.
    *(fallen(f"fallen_gate.{name}.{protection}", "fallen_gate", f"--write-protection {protection} --append '{ways}'",
             "THE GATE IS THE GUEST'S", LEAVES_THE_GATE, says, REGISTERS, guest="fallen_gate", on=Host.RIG)
      for protection in PROTECTIONS
      for name, ways, says in (("window-own-l4", "window own-l4", STOPPED_BY_THE_VIEW),
                               ("window-descriptors", "window descriptors", STOPPED_BY_THE_VIEW),
                               ("window-read", "window read", STOPPED_BY_THE_VIEW),
                               ("window-write", "window write", STOPPED_BY_THE_VIEW),
                               ("facts", "facts write", THE_MONITORS_FRAME),
                               ("gate-text", "gate-text write", THE_MONITORS_FRAME))),
    # Port accesses at CPL0 that the gate does not make. KVM finishes some of them itself.
    *(fallen(f"fallen_gate.{way}", "fallen_gate", f"--plain-gate --append {way}", LEAVES_THE_GATE, RAN_AT_CPL0, REGISTERS,
             guest="fallen_gate")
      for way in ("port-in", "port-outl", "port-outs")),
    # A triple fault. On AMD's processors the registers are lost with it, so the monitor can't tell that the gate had
    # fallen.
    fallen("fallen_gate.nowhere", "fallen_gate", "--plain-gate --append nowhere", LEAVES_THE_GATE, RAN_AT_CPL0, REGISTERS,
           guest="fallen_gate", on=Host.KVM),
    GuestTest("bad.shuts_a_vcpu_down", "walls_fallen_gate", "--plain-gate --append nowhere", exit=5,
              says=("vCPU 0 shut down [(]triple fault[)] at an unknown address",), monitor="pinfold_fallen_gate",
              on=Host.RIG),
]

# The resident path lies: the monitor notices, or the view stops what comes of it.
NEVER_COUNTED = "pinfold: .* never checked"
LYING_GATE = [
    *(fallen(f"lying_gate.{lie}", "lying_gate", f"--append {lie}", "THE RESIDENT PATH LIES", *says, guest="lying_gate", on=Host.RIG)
      for lie, says in (
          ("forges-uses", ("about to write a table", "pinfold: .*its view does not", REGISTERS)),
          ("skips-mirror", ("about to clear an entry", NEVER_COUNTED, REGISTERS)),
          ("wild-entry", ("about to clear an entry", NEVER_COUNTED, REGISTERS)),
          *((lie, ("about to leave on another root", "pinfold: vCPU 0 says that it runs on .* no roots of its domain's", REGISTERS))
            for lie in ("forges-kernel-root", "forges-user-root", "roots-are-data")),
          ("keeps-lock", ("about to leave with the lock", "pinfold: the vCPU left the VM .* shared the domain's lock")),
          ("writes-mirror", ("about to use a frame", "pinfold: .*its view", REGISTERS)))),
    fallen("lying_gate.too-many-uses", "lying_gate", "--audit --append too-many-uses", "THE RESIDENT PATH LIES",
           "leaves counts that are too high", "audit: .*references", guest="lying_gate", on=Host.RIG),
]

# Entries that name the processor's own tables. Without the validator, the mirror can't name such a frame and names
# one that the view keeps from the guest. Without that as well, the guest does change the tables that the processor
# walks, and the view stops it.
KEPT_FRAME = "pinfold: the guest touched a frame that its view keeps"
OWN_MIRROR = [
    *(fallen(f"own_mirror.{protection}", "unvalidated", f"--write-protection {protection}", UNVALIDATED, KEPT_FRAME,
             REGISTERS, guest="own_mirror")
      for protection in PROTECTIONS),
    *(fallen(f"own_mirror.{way}.{protection}", "view_only", f"--write-protection {protection} --append {way}", UNVALIDATED,
             "found the table that the processor walks", KEPT_FRAME, REGISTERS, guest="own_mirror")
      for protection in PROTECTIONS for way in ("own-table", "read", "write", "execute")),
]

# Pages that the monitor may write at any time, such as rings. A rule of the types keeps them from becoming tables;
# without it, the monitor's check before each store still holds.
SHARED_FRAMES = "walls.shared_frames_as_tables"
UNTYPED = [row for way in ("store", "console", "vcpu-info", "block", "words") for row in (
    well(f"{SHARED_FRAMES}.{way}.is_refused", f"--audit --append {way}", "the types stand",
         guest="walls_shared_frames_as_tables"),
    unaudited(f"{SHARED_FRAMES}.{way}.without_validator", f"--append {way}", UNVALIDATED, "the types stand", HOLD,
              guest="walls_shared_frames_as_tables", monitor="pinfold_unvalidated"),
    fallen(f"shared_frames_as_tables.{way}.without_types", "untyped", f"--plain-gate --append {way}",
           "TYPES OF FRAMES ARE SWITCHED OFF", "about to have a table written",
           "pinfold: the monitor was about to write frame 0x[0-9a-f]+.*typed l1; nothing was written", REGISTERS,
           guest="shared_frames_as_tables"))]

# The same guests without the view, and with all walls: the validator refuses at once.
VIEWLESS = {"options": "--write-protection mprotect --audit", "monitor": "pinfold_viewless"}
NO_VIEW = "THE VIEW IS SWITCHED OFF"
ATTACKS = ("store_into_own_page_table", "map_foreign_frame", "forge_entries", "own_mirror")
STANDING = [
    *(GuestTest(f"walls.{name}.without_view", f"walls_{name}", says=(NO_VIEW, "the validator stands"), **VIEWLESS)
      for name in ATTACKS),
    *(GuestTest(f"walls.{guest}.without_view", guest, says=(NO_VIEW, HOLD), **VIEWLESS)
      for guest in ("refused_writable_mappings_of_tables", "refused_roots", "refused_descriptor_arguments",
                    "refused_bad_arguments", "refused_stores_into_tables", "xsa_page_tables")),
    *(unaudited(f"walls.{name}.is_refused", "--audit", "the validator stands", guest=f"walls_{name}") for name in ATTACKS),
]

# A guest on the same host works on while the walls of other monitors fall.
BESIDE = ScriptTest("walls.other_guests_go_on", "beside", (
    "pinfold", "guest_walls_works_beside",
    "pinfold_unvalidated", "guest_walls_map_foreign_frame", "write",
    "pinfold_unvalidated", "guest_walls_store_into_own_page_table", "l4",
    "pinfold_view_only", "guest_walls_own_mirror", "write",
    "pinfold_fallen_gate", "guest_walls_fallen_gate", "root"), rig_options=("--own-machine",), limit=300)

# The same attacks on a frame of a neighbour's that runs in the same machine and has a secret there. Each wall is taken away
# in turn. Afterwards the neighbour finds its secret and its tables as they were, and its counts and mirrors are right.
UNHARMED = ("^neighbour: the secret is as it was", f"^neighbour: {HOLD}", f"neighbour: {AUDITED}")
ATTACKED = r"pinfold: guest: the guest tried to (read|write|execute) frame 0x[0-9a-f]+ .*which is domain 1's; .*its view does not"
THEIR_FRAMES = ("secret", "l1", "l4", "grants", "shared-info")


def next_door(name: str, words: str, *says: str, guest: str = "", protection: str = "mprotect", **more) -> NextDoorTest:
    """An attack on the neighbour's secret, or on the frame that `words` name. The emulated machine runs it with one way of
    protecting memory."""
    where = "" if "neighbours-" in words else " neighbours-secret"
    options = ("--audit", "--write-protection", protection, *more.pop("options", ()))
    on = Host.KVM | Host.RIG if protection == "mprotect" else Host.KVM
    return NextDoorTest(f"walls.next_door.{name}", f"walls_{guest or name.partition('.')[0]}", words + where, options=options,
                        says=(*UNHARMED, *says), **{"on": on, **more})


NEXT_DOOR = [
    next_door("map_foreign_frame.is_refused", "", "^guest: the validator stands"),
    next_door("map_foreign_frame.without_view", "", NO_VIEW, "^guest: the validator stands", monitor="pinfold_viewless"),
    *(next_door(f"attack_a_neighbour{suffix}", "", "^guest: nothing reached the neighbour", f"guest: {HOLD}", f"guest: {AUDITED}",
                monitor=monitor)
      for suffix, monitor in (("", "pinfold"), (".without_view", "pinfold_viewless"))),
    *(next_door(f"map_foreign_frame.{way}.{protection}", way, UNVALIDATED, "guest: mapped a frame that is not its own", stopped,
                exit=6, monitor="pinfold_unvalidated", protection=protection)
      for protection in PROTECTIONS
      for way, stopped in (("read", ATTACKED), ("write", ATTACKED), ("execute", ATTACKED),
                           ("by-hypercall", f"{ATTACKED}|{STOPPED_IN_THE_GATE}"))),
    *(next_door(f"map_foreign_frame.write-{frame}", f"write neighbours-{frame}", UNVALIDATED, ATTACKED, exit=6,
                monitor="pinfold_unvalidated", on=Host.KVM)
      for frame in THEIR_FRAMES[1:]),
    *(next_door(f"forge_entries.{way}", way, UNVALIDATED, NEVER_CHECKED.replace("pinfold: ", "pinfold: guest: "), exit=6,
                options=("--plain-gate",), monitor="pinfold_mirror_only")
      for way in ("replaced", "foreign")),
    *(next_door(f"own_mirror.{way}.{protection}", way, UNVALIDATED, "guest: found the table that the processor walks",
                "pinfold: guest: the guest touched a frame that its view keeps", exit=6, monitor="pinfold_view_only",
                protection=protection)
      for protection in PROTECTIONS for way in ("read", "write", "execute")),
    *(next_door(f"fallen_gate.{way}.{protection}", way, LEAVES_THE_GATE, "pinfold: guest: .*its view (does not|keeps|held)", exit=6,
                options=("--plain-gate",), monitor="pinfold_fallen_gate", protection=protection)
      for protection in PROTECTIONS for way in ("read", "write", "execute", "root")),
    *(next_door(f"fallen_gate.{way}-{frame}", f"{way} neighbours-{frame}", LEAVES_THE_GATE,
                "pinfold: guest: .*its view (does not|keeps|held)", exit=6, options=("--plain-gate",),
                monitor="pinfold_fallen_gate", on=Host.KVM)
      for way, frame in (*(("write", frame) for frame in THEIR_FRAMES[1:]), ("root", "l4"))),
    # Entries of its grant table that are for somebody else.
    *(next_door(f"forge_grants.{way}", "", *says, "^guest: nothing was reached by a forged grant", f"guest: {HOLD}",
                f"guest: {AUDITED}", monitor=monitor, neighbours_words="names-tables")
      for way, monitor, says in (("is_refused", "pinfold", ("^guest: the entry stands",)),
                                 ("without_entries", "pinfold_entries_ignored",
                                  ("A GRANT'S ENTRY PERMITS IS IGNORED", "^guest: the entry is ignored")))),
    # A frame that was granted for a time.
    *(next_door(f"stale_mapping.{way}", "neighbours-loan", *says, f"guest: {HOLD}", monitor=monitor, neighbours_words="takes-back")
      for way, monitor, says in (("is_refused", "pinfold", ("^guest: the validator stands",)),
                                 ("without_view", "pinfold_viewless", (NO_VIEW, "^guest: the validator stands")))),
    *(next_door(f"stale_mapping.without_validator.{protection}", "neighbours-loan", UNVALIDATED, ATTACKED, exit=6,
                monitor="pinfold_unvalidated", neighbours_words="takes-back", protection=protection)
      for protection in PROTECTIONS),
]
# The neighbour has ended, and its frames are nobody's.
DEAD = [NextDoorTest(f"walls.next_door.dead_owner.{what}", "walls_stale_mapping", f"ends neighbours-{frame}", "ends",
                     options=("--audit",), exit=exit_code, monitor=monitor,
                     says=("^neighbour: ends with its secret", f"^neighbour: {HOLD}", f"neighbour: {AUDITED}", *says))
        for frame in ("secret", "loan")
        for what, monitor, exit_code, says in (
            (f"{frame}.is_refused", "pinfold", 0, ("^guest: the validator stands", f"guest: {HOLD}", f"guest: {AUDITED}")),
            (f"{frame}.without_view", "pinfold_viewless", 0, (NO_VIEW, "^guest: the validator stands", f"guest: {HOLD}")),
            (f"{frame}.without_validator", "pinfold_unvalidated", 6,
             (UNVALIDATED, "pinfold: guest: the guest tried to read frame .*which is (nobody|domain 1)'s; .*its view does not")))]

# The folders with guests; each source file is one guest.
FOLDERS = ("bad", "boots", "control", "debug", "disk", "events", "grants", "hostile", "machine", "net", "questions", "refused", "time",
           "vcpus", "walls", "xsa")
ROWS: list[Row] = [*BOOTS, *REFUSED, *XSA, *GRANTS, *DEBUG, *VCPUS, *TIME, *EVENTS, *DEVICES, *BAD, *ENDS, *HOSTILE, *VIEW_ALONE,
                   *MIRROR_ALONE, *FALLEN_GATE, *LYING_GATE, *OWN_MIRROR, *UNTYPED, *STANDING, BESIDE, *NEXT_DOOR, *DEAD]
# Tests with several vCPUs, or with several threads in the monitor. They also run under TSan.
CONCURRENT = re.compile(r"(disk|events|net|time|vcpus)\.")
# Tests that also run on the emulated machine with two processors, where vCPUs are in the gate, in the monitor and in
# the guest at the same time.
PARALLEL = re.compile(r"vcpus|events|time|xsa\.vcpus|boots\.round")


def rows(host: Host, names: list[str] | None = None) -> list[Row]:
    """The rows for a host, or those of them that are named. Raises LookupError for an unknown name."""
    if host == Host.RIG_SMP:
        chosen = [row for row in ROWS if Host.RIG_SMP in row.on or (Host.RIG in row.on and PARALLEL.match(row.name))]
    else:
        chosen = [row for row in ROWS if host in row.on]
    if names is None:
        return chosen
    unknown = set(names) - {row.name for row in chosen}
    if unknown:
        raise LookupError(f"no such guest test there: {', '.join(sorted(unknown))}")
    return [row for row in chosen if row.name in names]
