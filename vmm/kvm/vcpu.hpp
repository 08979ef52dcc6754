// A virtual processor of KVM, with its shared kvm_run page. A thin layer: one function for each
// ioctl, and no decisions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <tl/expected.hpp>

#include "vmm/for_devices/fd.hpp"
#include "vmm/kvm/abi.hpp"
#include "vmm/kvm/exit_port.hpp"

namespace pinfold::vmm {

/// Why an operation of KVM failed.
struct KvmError {
  enum class Kind {
    missing,    ///< no such device: KVM is not there or not loaded
    no_access,  ///< the device is there, this user may not open it
    unusable,   ///< it opens, but lacks an API version or a capability that pinfold needs
    failed,     ///< a call failed; `error` says how
  };
  Kind kind = Kind::failed;
  int error = 0;        ///< errno, or 0
  std::string message;  ///< one line: what failed and, if known, what to do
};

template <class T>
using KvmResult = tl::expected<T, KvmError>;

/// One model-specific register and its value.
struct Msr {
  std::uint32_t index = 0;
  std::uint64_t value = 0;
};

/// The result of KVM_RUN.
struct RunResult {
  enum class Kind {
    exited,       ///< kvm_run::exit_reason says why
    interrupted,  ///< by a signal or immediate_exit; there is nothing to answer
    failed,       ///< `error` says how; EFAULT: the guest accessed a page that its view forbids
  };
  Kind kind = Kind::failed;
  int error = 0;
};

/// Is this exit one OUT of one byte to `exit_port`, not repeated? After every other KVM_EXIT_IO, KVM
/// completes the instruction at the next KVM_RUN, in whatever registers the vCPU has by then.
[[nodiscard]] bool is_finished_out(const kvm_run& run);

/// A virtual processor. Registers are exchanged through the kvm_run page (KVM_CAP_SYNC_REGS): after each
/// exit regs() and sregs() are the guest's, and the next run() takes over a changed set that was marked as
/// dirty. Gathering sregs takes KVM longer than most of what an exit is about, so they can be fetched on
/// demand only (`fetch_sregs_on_demand`).
///
/// Concurrency: only the thread that runs it may use it, except for set_immediate_exit().
class Vcpu {
 public:
  Vcpu(Vcpu&& other) noexcept;
  Vcpu& operator=(Vcpu&& other) noexcept;
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;
  ~Vcpu();

  /// Enters the guest until it exits, a signal arrives, or something fails. Afterwards no set is
  /// dirty, also after a failure.
  [[nodiscard]] RunResult run();

  /// Is an access of the guest's unfinished in KVM: IN, INS, OUTS, MMIO, or an OUT that is not
  /// is_finished_out()? KVM completes it at the next run(): it moves RIP, and writes RAX or memory. No
  /// registers may be set before that; mark_regs_dirty() and mark_sregs_dirty() throw std::logic_error.
  [[nodiscard]] bool access_pending() const { return access_pending_; }
  /// Makes KVM complete that access without running guest code. Registers and memory are then as if the guest
  /// had read zeroes. Drops an exception that the completion raised. An error if KVM never completes it.
  [[nodiscard]] KvmResult<void> finish_access();

  /// Could KVM interrupt the guest at the last exit? Not between an exception and its delivery (also for a
  /// breakpoint, which events() does not show), after STI or MOV SS, and while RFLAGS.IF is clear.
  [[nodiscard]] bool interruptible() const { return run_->ready_for_interrupt_injection != 0; }

  [[nodiscard]] kvm_run& shared() { return *run_; }
  [[nodiscard]] const kvm_run& shared() const { return *run_; }
  /// The data of a KVM_EXIT_IO: size × count bytes in the run page. Empty if KVM's numbers do
  /// not fit into the page.
  [[nodiscard]] std::span<std::byte> io_data();

  [[nodiscard]] kvm_regs& regs() { return run_->s.regs.regs; }
  /// Throws std::system_error if fetching them fails.
  [[nodiscard]] kvm_sregs& sregs() {
    if (!sregs_known_) [[unlikely]]
      fetch_sregs();
    return run_->s.regs.sregs;
  }
  /// From the next run() on, sregs() fetches them from KVM, once for each exit.
  void fetch_sregs_on_demand() { run_->kvm_valid_regs = KVM_SYNC_X86_REGS; }
  void mark_regs_dirty() { mark_dirty(KVM_SYNC_X86_REGS); }
  void mark_sregs_dirty() { mark_dirty(KVM_SYNC_X86_SREGS); }
  /// Reads both sets by ioctl: before the first run(), and when the page may be out of date.
  [[nodiscard]] KvmResult<void> refresh();

  /// Makes the next run() return at once, and with a signal also the current one. For any thread
  /// and for signal handlers.
  void set_immediate_exit(bool on) { __atomic_store_n(&run_->immediate_exit, on ? 1 : 0, __ATOMIC_SEQ_CST); }
  [[nodiscard]] KvmResult<void> set_cpuid(std::span<const kvm_cpuid_entry2> entries);
  /// Sets all, or returns an error that names the first refused register.
  [[nodiscard]] KvmResult<void> set_msrs(std::span<const Msr> msrs);
  [[nodiscard]] KvmResult<void> set_msr(std::uint32_t index, std::uint64_t value);
  [[nodiscard]] KvmResult<std::uint64_t> msr(std::uint32_t index) const;
  [[nodiscard]] KvmResult<void> set_xcr0(std::uint64_t value);
  [[nodiscard]] KvmResult<void> set_fpu(const kvm_fpu& fpu);
  [[nodiscard]] KvmResult<kvm_fpu> fpu() const;
  [[nodiscard]] KvmResult<void> set_events(const kvm_vcpu_events& events);
  [[nodiscard]] KvmResult<kvm_vcpu_events> events() const;
  [[nodiscard]] KvmResult<void> set_debug_registers(const kvm_debugregs& registers);
  [[nodiscard]] KvmResult<kvm_debugregs> debug_registers() const;
  /// Drops an exception that KVM is about to deliver, also one that events() does not show.
  [[nodiscard]] KvmResult<void> drop_exception();
  /// Ends the blocking of interrupts by MOV SS or STI, which KVM otherwise keeps for the next instruction,
  /// whatever that is.
  [[nodiscard]] KvmResult<void> end_interrupt_shadow();

  /// Guest TSC minus host TSC.
  [[nodiscard]] KvmResult<void> set_tsc_offset(std::uint64_t offset);
  [[nodiscard]] KvmResult<std::uint64_t> tsc_offset() const;
  [[nodiscard]] KvmResult<std::uint32_t> tsc_khz() const;

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
  bool sregs_known_ = false;  ///< The run page's sregs are KVM's, or newer.
  std::size_t run_size_ = 0;
};

}  // namespace pinfold::vmm
