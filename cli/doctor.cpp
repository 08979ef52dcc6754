#include "cli/doctor.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "cli/tools/tool.hpp"
#include "devices/block/nbd_library.hpp"
#include "devices/block/restricted_ring.hpp"
#include "sandbox/host_support.hpp"
#include "vmm/host/probe.hpp"

namespace pinfold::cli {
namespace {

using vmm::HostFacts;
using vmm::KvmError;

/// One thing that was found: its name in JSON, its value, the same in words, and what follows from it.
struct Finding {
  const char* key;
  nlohmann::json value;
  std::string found;
  const char* consequence;
};

Finding yes_no(const char* key, bool value, const char* if_yes, const char* if_no, const char* then_yes,
               const char* then_no) {
  return {key, value, value ? if_yes : if_no, value ? then_yes : then_no};
}

Finding second_slots(const HostFacts& f) {
  constexpr auto key = "second_slots";
  if (f.shadow_paging())
    return {key, false, "a second memory slot over the same pages was not tried",
            "not used where KVM shadows page tables"};
  return yes_no(key, f.second_slots_work, "memory slots over the same pages keep what each of them forbids",
                "memory slots over the same pages do not keep what each of them forbids",
                "code in the gate can change tables that the guest can only read",
                "tables are changed by the monitor alone");
}

std::vector<Finding> paging_findings(const HostFacts& f) {
  return {
      yes_no("shadow_paging", f.shadow_paging(), "KVM shadows the guest's page tables",
             "the processor walks the tables in memory (two-dimensional paging)",
             "page-table entries are stored by code in the guest",
             "page-table entries are stored by the monitor"),
      yes_no("mprotect", f.mprotect_protects, "KVM refuses what the view keeps from the guest",
             "KVM lets the guest touch what the view keeps from it",
             "other domains' frames are out of reach, tables cannot be written",
             "pinfold cannot isolate guests here"),
      yes_no("userfaultfd", f.userfaultfd_protects, "userfaultfd write-protects pages, without privilege",
             "userfaultfd does not write-protect shared memory",
             "table frames are protected without splitting the view",
             "table frames are protected by mprotect; vm.max_map_count limits how many"),
      {"max_map_count", f.max_map_count, "vm.max_map_count is " + std::to_string(f.max_map_count),
       "bounds the pieces of a view that mprotect makes"},
      yes_no("memory_fault_info", f.memory_fault_info, "a refused access comes with its address",
             "a refused access comes without an address", "it is taken from KVM",
             "it is found by decoding the instruction"),
      yes_no("slot_256", f.slot_256_at_cpl3, "L4 slot 256 can be used at CPL3",
             "L4 slot 256 cannot be used at CPL3", "the machine-to-phys table is where the ABI puts it",
             "the machine-to-phys table is elsewhere, as XENMEM_machphys_mapping tells the guest"),
      second_slots(f),
  };
}

const char* syscall_consequence(const HostFacts& f) {
  if (!f.syscall_stays_at_cpl3) return "each leaves to the monitor through the gate";
  return f.window_exit_at_syscall ? "each leaves to the monitor, at once"
                                  : "each leaves to the monitor, by a stub";
}

std::vector<Finding> entry_findings(const HostFacts& f) {
  return {
      {"syscall_cpl", f.syscall_stays_at_cpl3 ? 3 : 0,
       f.syscall_stays_at_cpl3 ? "SYSCALL stays at CPL3" : "SYSCALL enters CPL0", syscall_consequence(f)},
      {"window_exit_at_syscall", f.window_exit_at_syscall,
       f.window_exit_at_syscall ? "KVM can be made to leave at SYSCALL"
                                : "KVM does not leave at SYSCALL by itself",
       f.window_exit_at_syscall ? "saves one entry into the guest per system call" : "nothing to gain"},
      yes_no("int_n", f.int_n_through_idt, "INT n goes through the IDT", "INT n raises #UD",
             "software interrupts are gates in the IDT", "software interrupts are recognised at #UD"),
      yes_no("out_7e_completes", f.out_7e_completes, "an OUT to the gate's port leaves nothing pending",
             "an OUT to the gate's port is finished by KVM on re-entry", "registers are set at once",
             "one more KVM_RUN per exit"),
      yes_no("closed_port_faults", f.closed_port_faults, "a port that is closed to CPL3 raises #GP there",
             "CPL3 reaches ports that are closed to it", "only the gate leaves by its port",
             "pinfold cannot tell programs from its gate here"),
      yes_no("access_is_finished_on_request", f.access_is_finished_on_request,
             "an unfinished port access can be completed without entering the guest",
             "an unfinished port access is completed in the guest only", "registers are set after it",
             "pinfold cannot run guests here"),
      yes_no("tells_if_interruptible", f.tells_if_interruptible,
             "KVM tells at each exit whether an exception waits",
             "KVM has to be asked whether an exception waits", "an interruption needs no further call",
             "each interruption takes two more calls"),
      yes_no("interrupt_controller", f.in_kernel_irqchip, "KVM has an interrupt controller",
             "KVM has no interrupt controller", "not needed", "not needed"),
  };
}

const char* why_not_resident(const HostFacts& f) {
  if (f.shadow_paging()) return "KVM shadows page tables here: each update takes an exit";
  if (!f.second_slots_work)
    return "a second memory slot over the same pages does not work as it has to: each update takes an exit";
  return "the processor's physical addresses have fewer than 40 bits: each update takes an exit";
}

std::vector<Finding> processor_findings(const HostFacts& f) {
  return {
      yes_no("cpuid_intercepted", f.cpuid_intercepted, "CPUID shows what pinfold sets",
             "CPUID shows the host's leaves", "features can be hidden from programs",
             "the guest kernel is told the host's XSAVE features"),
      yes_no("tsc_offset", f.tsc_offset_works, "the TSC can be offset", "the TSC is the host's",
             "a guest's clock can start anywhere", "guest clocks are scaled from the host's TSC"),
      {"address_bits", f.address_bits, "physical addresses have " + std::to_string(f.address_bits) + " bits",
       "the monitor's own frames lie past the first 38 of them, where no guest entry can point"},
      {"tsc_khz", f.tsc_khz, "the TSC runs at " + std::to_string(f.tsc_khz) + " kHz", "told to the guest"},
      yes_no("tsc_invariant", f.tsc_invariant, "the TSC keeps time", "the TSC's rate may change",
             "guests are told that it is stable", "guests are told not to trust it; their clocks may drift"),
      yes_no("task_switched_flag", f.task_switched_flag_works, "CR0.TS raises #NM",
             "CR0.TS is ignored at CPL3", "fpu_taskswitch is lazy, as on Xen",
             "fpu_taskswitch has no effect on programs"),
      yes_no("debug_registers", f.debug_registers_act, "breakpoints in debug registers act",
             "breakpoints in debug registers have no effect", "watchpoints work in guests, as on Xen",
             "watchpoints of debuggers and perf in guests are kept, but never hit"),
      yes_no("fsgsbase", f.fsgsbase_works, "CR4.FSGSBASE lets programs change segment bases",
             "FSGSBASE does not work at CPL3, or not as CR4 says",
             f.syscall_stays_at_cpl3 ? "not offered to guests here: it would take more exits"
                                     : "guests have it, as on Xen",
             "hidden from guests"),
      yes_no("resident", vmm::traits_of(f).resident, "page tables are updated inside the VM",
             "page tables are updated by the monitor alone", "plain updates take no exit",
             why_not_resident(f)),
      yes_no("time_stamp_disable", f.time_stamp_disable_works, "CR4.TSD makes RDTSC fault",
             "CR4.TSD is ignored at CPL3", "a guest can keep its programs from the TSC",
             "programs can read the TSC whatever the guest's CR4.TSD says"),
  };
}

std::vector<Finding> disk_findings() {
  const auto why_not = devices::block::why_no_io_uring();
  return {
      {"io_uring", !why_not,
       why_not ? "no io_uring: " + *why_not : "io_uring works, and can be restricted to a disk's transfers",
       why_not ? "disks are served by threads, which is slower" : "disks are served by it"}};
}

const char* landlock_consequence(int version) {
  constexpr int with_scopes = 6;
  if (version == 0) return "filters of system calls alone keep monitors from files";
  return version < with_scopes
             ? "monitors reach no file by its path, beside the filters"
             : "monitors reach no file by its path, and no other process, beside the filters";
}

std::vector<Finding> sandbox_findings() {
  const sandbox::HostSupport host = sandbox::host_support();
  const bool filters = host.no_seccomp.empty();
  return {{"seccomp", filters, filters ? "seccomp filters work" : "no seccomp filters: " + host.no_seccomp,
           filters ? "monitors make the system calls of docs/sandbox.md only"
                   : "monitors can't be confined: guests run with --sandbox=off only"},
          {"landlock", host.landlock_version,
           host.landlock_version > 0 ? "Landlock has version " + std::to_string(host.landlock_version)
                                     : "no Landlock: " + host.no_landlock,
           landlock_consequence(host.landlock_version)}};
}

std::vector<Finding> helper_findings() {
  std::vector<Finding> all;
  struct Helper {
    const char* name;
    const char *then_yes, *then_no;
  };
  constexpr std::array helpers{Helper{"qemu-img", "it looks at images that are not raw",
                                      "only raw images can be used; `apt-get install qemu-utils`"},
                               Helper{"qemu-nbd", "it serves images that are not raw",
                                      "only raw images can be used; `apt-get install qemu-utils`"},
                               Helper{"grub-fstest", "kernels on guests' own disks can be booted",
                                      "bootloader= can't be used; `apt-get install grub-common`"},
                               Helper{"passt", "guests can have networks without any right",
                                      "net=passt can't be used; `apt-get install passt`"},
                               Helper{"lzop", "kernels packed with LZO can be booted",
                                      "kernels packed with LZO can't be booted; `apt-get install lzop`"}};
  for (const Helper& helper : helpers) {
    const bool is_there = tools::is_installed(helper.name);
    all.push_back({helper.name, is_there,
                   std::string(helper.name) + (is_there ? " is installed" : " is not installed"),
                   is_there ? helper.then_yes : helper.then_no});
  }
  const auto libnbd = devices::block::NbdLibrary::load();
  all.push_back({"libnbd", libnbd.has_value(), libnbd ? "libnbd can be loaded" : libnbd.error(),
                 libnbd ? "disks can be on NBD servers" : "only raw images can be used"});
  return all;
}

std::vector<Finding> all_findings(const HostFacts& facts) {
  std::vector<Finding> all = paging_findings(facts);
  for (const auto& more : {entry_findings(facts), processor_findings(facts), disk_findings(),
                           sandbox_findings(), helper_findings()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

const char* kind_name(KvmError::Kind kind) {
  switch (kind) {
    case KvmError::Kind::missing: return "missing";
    case KvmError::Kind::no_access: return "no-access";
    case KvmError::Kind::unusable: return "unusable";
    case KvmError::Kind::failed: break;
  }
  return "failed";
}

int refuse(bool json, std::ostream& out, const char* kind, const std::string& message) {
  if (json) {
    out << nlohmann::json{{"usable", false}, {"reason", kind}, {"message", message}}.dump(2) << '\n';
  } else {
    out << "not usable: " << message << '\n';
  }
  return exit_no_kvm;
}

void print(std::ostream& out, const std::vector<Finding>& findings) {
  for (const auto& finding : findings) out << finding.found << "\n    -> " << finding.consequence << '\n';
  out << '\n';
}

nlohmann::json by_key(const std::vector<Finding>& findings) {
  nlohmann::json host;
  for (const auto& finding : findings) host[finding.key] = finding.value;
  return host;
}

/// A KVM that runs guests, and not as any that is known here: what was found is what there is to go by.
int refuse_host(bool json, std::ostream& out, const std::vector<Finding>& findings, const char* objection) {
  if (json) {
    out << nlohmann::json{{"usable", false},
                          {"reason", "unusable"},
                          {"message", objection},
                          {"host", by_key(findings)}}
               .dump(2)
        << '\n';
    return exit_no_kvm;
  }
  for (const auto& finding : findings) out << finding.found << '\n';
  out << '\n';
  return refuse(json, out, "unusable", objection);
}

}  // namespace

int doctor(bool json, std::ostream& out, const char* device) {
  const auto kvm = vmm::Kvm::open(device);
  if (!kvm) return refuse(json, out, kind_name(kvm.error().kind), kvm.error().message);
  const auto facts = vmm::probe(*kvm);
  if (!facts) return refuse(json, out, kind_name(facts.error().kind), facts.error().message);
  std::vector<Finding> findings{{"device", device, std::string(device) + " can be opened by this user",
                                 "nothing else of what follows needs a privilege"}};
  for (Finding& finding : all_findings(*facts)) findings.push_back(std::move(finding));
  if (const char* objection = vmm::objection_to(*facts); objection != nullptr)
    return refuse_host(json, out, findings, objection);
  const char* verdict = facts->shadow_paging()
                            ? "usable: guests run; page-table work is slower than with EPT or NPT"
                            : "usable: the processor walks the mirrors itself";
  if (json) {
    out << nlohmann::json{{"usable", true}, {"verdict", verdict}, {"host", by_key(findings)}}.dump(2) << '\n';
  } else {
    print(out, findings);
    out << verdict << '\n';
  }
  return 0;
}

}  // namespace pinfold::cli
