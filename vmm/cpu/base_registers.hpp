// The segment bases of a vCPU: FS, the GS of the guest's mode, and the GS of its other mode.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "vmm/ending.hpp"

namespace pinfold::vmm {

/// The processor's own three. To ask for one costs a system call where it is not in the run page.
class ProcessorBases {
 public:
  virtual ~ProcessorBases() = default;
  /// Is the vCPU in the guest? Then the processor tells nothing before it is out.
  [[nodiscard]] virtual bool in_guest() const = 0;
  [[nodiscard]] virtual std::uint64_t fs() = 0;
  [[nodiscard]] virtual std::uint64_t gs() = 0;
  /// What SWAPGS would load (MSR_KERNEL_GS_BASE); nothing if KVM does not tell.
  [[nodiscard]] virtual std::optional<std::uint64_t> inactive_gs() = 0;
  /// The reason, if KVM does not take it.
  [[nodiscard]] virtual std::optional<std::string> set_inactive_gs(std::uint64_t base) = 0;
};

/// Keeps what is known of the bases between an exit and the next entry. They are asked for when they are
/// needed: most exits need none. Guest code may change all of them, by instructions that no one sees, and the
/// gate swaps the two of GS.
///
/// While a vCPU is in the guest the values are those of an earlier exit.
///
/// Concurrency: under the domain's lock; in the vCPU's own thread, unless it rests.
class BaseRegisters {
 public:
  BaseRegisters(ProcessorBases& processor, DomainEnd& end) : processor_(processor), end_(end) {}

  [[nodiscard]] std::uint64_t fs();
  [[nodiscard]] std::uint64_t active_gs();
  [[nodiscard]] std::uint64_t inactive_gs();
  void set_fs(std::uint64_t base);
  void set_active_gs(std::uint64_t base);
  void set_inactive_gs(std::uint64_t base);
  void set_all(std::uint64_t fs, std::uint64_t active_gs, std::uint64_t inactive_gs);
  /// The guest changes modes.
  void swap_gs();

  /// After an exit: guest code may have changed FS and the active GS.
  void forget_active() { active_known_ = false; }
  /// The gate swapped the two of GS.
  void forget_inactive();
  /// Fetches FS and the active GS now, while the run page has them.
  void know_active();
  /// Are FS and the active GS known, so that they may differ from the processor's?
  [[nodiscard]] bool knows_active() const { return active_known_; }
  /// Before an entry through the gate: the processor gets the inactive GS, if it may have another.
  void give_inactive();

 private:
  void know_inactive();

  ProcessorBases& processor_;
  DomainEnd& end_;
  std::uint64_t fs_ = 0, active_gs_ = 0, inactive_gs_ = 0;
  bool active_known_ = true;  ///< fs_ and active_gs_ are; else the processor has them.
  bool inactive_known_ = true;
  std::optional<std::uint64_t> inactive_given_;  ///< What the processor has, if known.
};

}  // namespace pinfold::vmm
