// Debug exceptions of the guest's, and its debug registers in the processor.
#include <algorithm>

#include "vmm/domain.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {

/// A #DB in guest code. What a debugger's step caused is the debugger's; what the guest's own breakpoints
/// caused is the guest's, also if both happen at once.
void GuestCpu::on_debug_exception(pvmmu::Held held) {
  domain_.statistics().count(ExitReason::other_exception);
  std::uint64_t causes = debug_causes();
  if (domain_.debugger() != nullptr && domain_.debugger()->takes_trap(held, *this, vector::db)) {
    causes &= dr6::breakpoints;
    if (causes == 0) return;
  }
  trace_entered(held, pvmmu::cause_exception + vector::db);
  deliver_debug(held, causes);
}

void GuestCpu::deliver_debug(pvmmu::Held held, std::uint64_t causes) {
  state_.debug.note(causes);
  deliver(held, GuestException{vector::db, 0, 0});
}

/// Why the processor raised a #DB, as bits of DR6. KVM keeps all but B0 to B3 set until DR6 is written.
std::uint64_t GuestCpu::debug_causes() {
  if (!domain_.config().host.debug_registers) return dr6::single_step;
  const auto registers = vcpu_.debug_registers();
  if (!registers) return dr6::single_step;
  kvm_debugregs cleared = *registers;
  cleared.dr6 = dr6::initial;
  if (!vcpu_.set_debug_registers(cleared)) return dr6::single_step;
  return registers->dr6 & dr6::causes;
}

/// Gives KVM the guest's breakpoints. Without effect where KVM has no use for them.
void GuestCpu::load_debug_registers() {
  const DebugRegisters::Loaded wanted = state_.debug.to_load();
  if (!domain_.config().host.debug_registers || wanted == loaded_debug_) return;
  kvm_debugregs registers{};
  std::ranges::copy(wanted.address, registers.db);
  registers.dr6 = dr6::initial;
  registers.dr7 = wanted.dr7;
  if (const auto set = vcpu_.set_debug_registers(registers); !set)
    return domain_.end(Ending::host_failure, set.error().message);
  loaded_debug_ = wanted;
}

}  // namespace pinfold::vmm
