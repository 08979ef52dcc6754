// A VM of 32 pages that runs one piece of code at CPL3 or CPL0 and reports how it ended. It serves to find
// out how the host's KVM behaves, and has nothing in common with the guests that pinfold runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "vmm/kvm/kvm.hpp"
#include "vmm/memory/view.hpp"

namespace pinfold::vmm {

/// Addresses of the pieces in probe_code.S.
extern "C" {
extern const unsigned char pinfold_probe_user_begin[], pinfold_probe_user_end[], pinfold_probe_syscall[],
    pinfold_probe_load[], pinfold_probe_store[], pinfold_probe_int_80[], pinfold_probe_cpuid[],
    pinfold_probe_rdtsc[], pinfold_probe_fsgsbase[], pinfold_probe_sse[], pinfold_probe_closed_out[],
    pinfold_probe_closed_in[], pinfold_probe_closed_ins[], pinfold_probe_closed_outs[],
    pinfold_probe_supervisor_begin[], pinfold_probe_supervisor_end[], pinfold_probe_invlpg[],
    pinfold_probe_in_7e[], pinfold_probe_supervisor_load[], pinfold_probe_supervisor_store[];
}

/// How a piece of probe code ended.
struct ProbeOutcome {
  enum class Kind {
    done,        ///< by the INT3 at the end of a user piece, or by an OUT that is not in an exception's stub
    exception,   ///< by the OUT in the stub of `vector`
    window,      ///< KVM_EXIT_IRQ_WINDOW_OPEN
    host_fault,  ///< KVM_RUN failed with EFAULT
    mmio_store,  ///< KVM_EXIT_MMIO, which the next resume() completes
    other,       ///< anything else, from which nothing can be concluded
  };
  Kind kind = Kind::other;
  unsigned vector = 0;
  std::uint64_t rip = 0;  ///< as KVM shows it
  std::uint64_t rax = 0, rbx = 0;
  unsigned cpl = 0;  ///< at the end; after an exception the stub's

  [[nodiscard]] bool done() const { return kind == Kind::done; }
};

class ProbeGuest {
 public:
  /// Guest-physical pages for data. A is mapped at `replaced` until map_replaced(), C at `fixed`.
  static constexpr std::size_t data_a = 20, data_b = 21, data_c = 22;
  /// Addresses of code and data at CPL3.
  static constexpr std::uint64_t user_base = 0x400000, replaced = user_base + 0x1000,
                                 fixed = user_base + 0x2000;
  static constexpr std::uint64_t lstar = user_base;
  /// Addresses of page C at CPL0, once add_second_slots() has succeeded: by its window, and by a read-only
  /// slot.
  static constexpr std::uint64_t window = 0xffff830000100000, record = window + 0x1000;
  /// EBX of CPUID leaf 0x40000000, if KVM intercepts CPUID.
  static constexpr std::uint32_t cpuid_mark = 0x666e6970;

  /// For probe_code.S. Each vector has a stub of this size; the I/O map keeps this port from CPL3.
  static constexpr std::size_t vectors = 256, stub_size = 8;
  static constexpr std::uint16_t closed_port = 0x80;

  /// `how`: the protection of the guest's view.
  [[nodiscard]] static KvmResult<ProbeGuest> create(const Kvm& kvm,
                                                    WriteProtection how = WriteProtection::mprotect);

  /// Run a piece of user code at CPL3, or of supervisor code at CPL0, with these values in RDI and RAX.
  ProbeOutcome user(const unsigned char* piece, std::uint64_t rdi = 0, std::uint64_t rax = 0);
  ProbeOutcome supervisor(const unsigned char* piece, std::uint64_t rdi = 0, std::uint64_t rax = 0);
  /// Continues where the code stopped.
  ProbeOutcome resume();

  /// Gives the VM more slots over its pages, as VmMemory does where the gate uses the resident path: the
  /// view's windows, and page C of the monitor's own mapping, with KVM_MEM_READONLY.
  [[nodiscard]] KvmResult<void> add_second_slots();

  /// Maps another page at `replaced`: the monitor stores the entry while the table is in use.
  void map_replaced(std::size_t page);
  [[nodiscard]] std::uint64_t word(std::size_t page) const;
  void set_word(std::size_t page, std::uint64_t value);

  [[nodiscard]] Vcpu& vcpu() { return vcpu_; }
  [[nodiscard]] View& view() { return *view_; }

 private:
  ProbeGuest(std::unique_ptr<Machine> machine, std::unique_ptr<View> view, Vm vm, Vcpu vcpu)
      : machine_(std::move(machine)), view_(std::move(view)), vm_(std::move(vm)), vcpu_(std::move(vcpu)) {}
  void build_tables();
  void build_descriptors();
  [[nodiscard]] KvmResult<void> build_registers();
  void put(std::size_t page, std::size_t offset, std::uint64_t value);

  std::unique_ptr<Machine> machine_;
  std::unique_ptr<View> view_;  // a slot of the VM, which it has to outlive
  Vm vm_;
  Vcpu vcpu_;
};

}  // namespace pinfold::vmm
