// A domain as a debugger's target.
#pragma once

#include <optional>

#include "cli/gdb/target.hpp"
#include "vmm/debug/guest_debug.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli::gdb {

/// Takes the domain's debug traps for as long as it lives. Its vCPUs are stopped from the start, until
/// `resume` or `let_go`.
class DomainTarget final : public Target, private vmm::Debugger {
 public:
  /// `on_stop` is called from a vCPU's thread when a vCPU meets a breakpoint or ends its step: once for each
  /// `resume` at most, with the domain's lock held.
  DomainTarget(vmm::Domain& domain, std::function<void()> on_stop);
  ~DomainTarget() override;
  DomainTarget(const DomainTarget&) = delete;
  DomainTarget& operator=(const DomainTarget&) = delete;

  /// The stop that `on_stop` announced, once all vCPUs are at rest.
  [[nodiscard]] std::optional<Stop> take_stop();

  [[nodiscard]] std::uint32_t cpus() const override { return domain_.vcpu_count(); }
  [[nodiscard]] bool is_up(std::uint32_t cpu) override;
  [[nodiscard]] std::string describe(std::uint32_t cpu) override;
  [[nodiscard]] CpuRegisters registers(std::uint32_t cpu) override;
  void set_registers(std::uint32_t cpu, const CpuRegisters& registers) override;
  [[nodiscard]] std::size_t read(std::uint32_t cpu, std::uint64_t from, std::span<std::byte> to) override;
  [[nodiscard]] bool write(std::uint32_t cpu, std::uint64_t to, std::span<const std::byte> from) override;
  [[nodiscard]] bool insert_breakpoint(std::uint32_t cpu, std::uint64_t at) override;
  [[nodiscard]] bool remove_breakpoint(std::uint32_t cpu, std::uint64_t at) override;
  void resume(const std::vector<Motion>& motions) override;
  [[nodiscard]] Stop interrupt() override;
  void let_go() override;
  void kill() override;

 private:
  [[nodiscard]] bool takes_trap(pvmmu::Held held, vmm::GuestCpu& cpu, std::uint8_t vector) override;
  void stepped(pvmmu::Held held, vmm::GuestCpu& cpu) override;
  void report(pvmmu::Held held, vmm::GuestCpu& cpu, Stop::Why why);
  /// The root under which a vCPU's address is looked up: a kernel's code is to be found also while the vCPU
  /// is in user mode.
  [[nodiscard]] Mfn root_for(pvmmu::Held held, std::uint32_t cpu, std::uint64_t address);
  [[nodiscard]] vmm::GuestCpu& cpu(std::uint32_t number) { return domain_.cpu(VcpuId(number)); }

  vmm::Domain& domain_;
  std::function<void()> on_stop_;
  vmm::GuestDebug memory_;
  std::optional<Stop> stop_;  ///< Under the domain's lock.
};

}  // namespace pinfold::cli::gdb
