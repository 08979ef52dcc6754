// KVM's four kinds of file (/dev/kvm, a VM, a vCPU, and the vCPU's shared kvm_run page) as objects that close
// themselves. Thin: one member per ioctl, nothing decided here. Only this file's .cpp and the memory module
// call ioctl.
//
// Threads: Kvm and Vm may be used from any thread; a Vcpu only from the one that runs it, but for
// set_immediate_exit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "vmm/kvm/abi.hpp"
#include "vmm/kvm/exit_port.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::vmm {

/// Why something of KVM did not work.
struct KvmError {
  enum class Kind {
    missing,    ///< no such device: KVM is not there or not loaded
    no_access,  ///< the device is there, this user may not open it
    unusable,   ///< it opens, but lacks what pinfold needs (API version, a capability)
    failed,     ///< one call failed; `error` says how
  };
  Kind kind = Kind::failed;
  int error = 0;        ///< errno, or 0
  std::string message;  ///< one line that says what failed and, where known, what to do
};

template <class T>
using KvmResult = tl::expected<T, KvmError>;

/// One model-specific register and its value.
struct Msr {
  std::uint32_t index = 0;
  std::uint64_t value = 0;
};

/// How KVM_RUN came back.
struct RunResult {
  enum class Kind {
    exited,       ///< kvm_run::exit_reason says why
    interrupted,  ///< a signal, or immediate_exit: nothing to answer
    failed,       ///< `error`; EFAULT: the guest touched a page that the view keeps from it
  };
  Kind kind = Kind::failed;
  int error = 0;
};

/// Is this exit one OUT of one byte to `exit_port`, not repeated? After every other KVM_EXIT_IO, KVM
/// completes the instruction at the next KVM_RUN, in whatever registers the vCPU has by then.
[[nodiscard]] bool is_finished_out(const kvm_run& run);

/// A virtual processor. Its registers are exchanged through the kvm_run page (KVM_CAP_SYNC_REGS): after each
/// exit regs() and sregs() are the guest's; a change is taken over by the next run() if the set was marked as
/// dirty. KVM takes longer to gather the second set than for most of what an exit is about: whoever rarely
/// needs it can have it fetched then (`fetch_sregs_on_demand`).
class Vcpu {
 public:
  Vcpu(Vcpu&& other) noexcept;
  Vcpu& operator=(Vcpu&& other) noexcept;
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;
  ~Vcpu();

  /// Enters the guest until it exits, a signal arrives, or something fails. What was dirty is clean
  /// afterwards, also after a failure.
  [[nodiscard]] RunResult run();

  /// Does KVM still hold an unfinished access of the guest's (IN, INS, OUTS, another OUT than
  /// is_finished_out(), MMIO)? KVM would complete it at the next run(), and then move RIP and write RAX or
  /// memory. Registers must not be set before: mark_regs_dirty() and mark_sregs_dirty() throw
  /// std::logic_error.
  [[nodiscard]] bool access_pending() const { return access_pending_; }
  /// Has KVM complete that access without running guest code; registers and memory are then as if the guest
  /// had read zeroes. An exception that this raised is dropped. An error if KVM does not come to an end.
  [[nodiscard]] KvmResult<void> finish_access();

  /// Can KVM interrupt the guest here? False between an exception and its delivery (also of a breakpoint,
  /// which events() does not show), behind STI or MOV SS, and with RFLAGS.IF clear. As of the last run().
  [[nodiscard]] bool interruptible() const { return run_->ready_for_interrupt_injection != 0; }

  [[nodiscard]] kvm_run& shared() { return *run_; }
  [[nodiscard]] const kvm_run& shared() const { return *run_; }
  /// The data of a KVM_EXIT_IO: size × count bytes inside the run page; empty if KVM's numbers do not fit
  /// into it.
  [[nodiscard]] std::span<std::byte> io_data();

  [[nodiscard]] kvm_regs& regs() { return run_->s.regs.regs; }
  /// Throws std::system_error if KVM, asked for them, does not tell.
  [[nodiscard]] kvm_sregs& sregs() {
    if (!sregs_known_) [[unlikely]]
      fetch_sregs();
    return run_->s.regs.sregs;
  }
  /// From the next run() on sregs() asks KVM, once an exit.
  void fetch_sregs_on_demand() { run_->kvm_valid_regs = KVM_SYNC_X86_REGS; }
  void mark_regs_dirty() { mark_dirty(KVM_SYNC_X86_REGS); }
  void mark_sregs_dirty() { mark_dirty(KVM_SYNC_X86_SREGS); }
  /// Reads both sets by ioctl: before the first run(), and wherever the page may be behind.
  [[nodiscard]] KvmResult<void> refresh();

  /// From another thread or a signal handler: the next run() (or the one under way, with a signal) returns at
  /// once.
  void set_immediate_exit(bool on) { __atomic_store_n(&run_->immediate_exit, on ? 1 : 0, __ATOMIC_SEQ_CST); }
  /// Signals blocked while the guest runs, one bit each (bit n-1 for signal n); replaces the thread's mask
  /// then.
  [[nodiscard]] KvmResult<void> set_signal_mask(std::uint64_t blocked);

  [[nodiscard]] KvmResult<void> set_cpuid(std::span<const kvm_cpuid_entry2> entries);
  /// All or an error that names the first register refused.
  [[nodiscard]] KvmResult<void> set_msrs(std::span<const Msr> msrs);
  [[nodiscard]] KvmResult<void> set_msr(std::uint32_t index, std::uint64_t value);
  [[nodiscard]] KvmResult<std::uint64_t> msr(std::uint32_t index) const;
  [[nodiscard]] KvmResult<void> set_xcr0(std::uint64_t value);
  [[nodiscard]] KvmResult<std::uint64_t> xcr0() const;
  [[nodiscard]] KvmResult<void> set_fpu(const kvm_fpu& fpu);
  [[nodiscard]] KvmResult<kvm_fpu> fpu() const;
  [[nodiscard]] KvmResult<void> set_xsave(const abi::XsaveArea& area);
  [[nodiscard]] KvmResult<abi::XsaveArea> xsave() const;
  [[nodiscard]] KvmResult<void> set_debug_registers(const kvm_debugregs& registers);
  [[nodiscard]] KvmResult<kvm_debugregs> debug_registers() const;
  [[nodiscard]] KvmResult<void> set_events(const kvm_vcpu_events& events);
  [[nodiscard]] KvmResult<kvm_vcpu_events> events() const;
  /// Forgets an exception that KVM was about to deliver, also one that events() does not show.
  [[nodiscard]] KvmResult<void> drop_exception();

  /// Guest TSC minus host TSC.
  [[nodiscard]] KvmResult<void> set_tsc_offset(std::uint64_t offset);
  [[nodiscard]] KvmResult<std::uint64_t> tsc_offset() const;
  [[nodiscard]] KvmResult<std::uint32_t> tsc_khz() const;

  /// KVM_INTERRUPT: queues a vector; without an in-kernel irqchip only, and with IF set.
  [[nodiscard]] KvmResult<void> interrupt(std::uint8_t vector);

 private:
  friend class Vm;
  Vcpu(Fd fd, kvm_run* run, std::size_t run_size) : fd_(std::move(fd)), run_(run), run_size_(run_size) {}
  void release();
  [[gnu::cold]] void fetch_sregs();
  void mark_dirty(std::uint64_t set) {
    if (access_pending_) [[unlikely]]
      refuse_registers();
    run_->kvm_dirty_regs |= set;
  }
  [[noreturn, gnu::cold]] static void refuse_registers();

  Fd fd_;
  kvm_run* run_ = nullptr;
  bool access_pending_ = false;
  bool sregs_known_ = false;  ///< What the run page has is KVM's, or newer.
  std::size_t run_size_ = 0;
};

/// One virtual machine: its memory slots and its vCPUs.
class Vm {
 public:
  /// Guest-physical [gpa, gpa + size) is the monitor's memory at `host`, which must stay mapped until the
  /// slot is removed or the VM gone. Bytes, page-aligned. Replaces a slot of the same number and size.
  [[nodiscard]] KvmResult<void> set_memory(std::uint32_t slot, std::uint64_t gpa, std::uint64_t size,
                                           void* host, std::uint32_t flags = 0);
  [[nodiscard]] KvmResult<void> remove_memory(std::uint32_t slot);
  [[nodiscard]] KvmResult<Vcpu> create_vcpu(std::uint32_t id);
  [[nodiscard]] KvmResult<void> enable_cap(std::uint32_t cap, std::uint64_t arg0 = 0);
  /// In-kernel PIC, IOAPIC and local APICs; before the first vCPU.
  [[nodiscard]] KvmResult<void> create_irqchip();
  /// As Kvm::extension, but what this VM has.
  [[nodiscard]] int extension(int cap) const;

 private:
  friend class Kvm;
  Vm(Fd fd, std::size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}

  Fd fd_;
  std::size_t run_size_ = 0;
};

/// The KVM device.
class Kvm {
 public:
  /// Opens it and checks what every host must have: API version 12 and registers through the run page.
  [[nodiscard]] static KvmResult<Kvm> open(const char* path = "/dev/kvm");

  /// KVM_CHECK_EXTENSION: 0 if absent, else positive with a meaning per capability.
  [[nodiscard]] int extension(int cap) const;
  [[nodiscard]] KvmResult<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;
  [[nodiscard]] KvmResult<Vm> create_vm() const;
  /// Bytes of a vCPU's run page and what follows it.
  [[nodiscard]] std::size_t vcpu_mmap_size() const { return run_size_; }

 private:
  Kvm(Fd fd, std::size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}

  Fd fd_;
  std::size_t run_size_ = 0;
};

}  // namespace pinfold::vmm
