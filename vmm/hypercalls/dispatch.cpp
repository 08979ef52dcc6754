// From a SYSCALL of the guest kernel to the handler and back; multicall is the same, several times
// (xen/xen.h).
#include <cstdint>

#include <xen/xen.h>

#include "vmm/domain.hpp"
#include "vmm/hypercalls/hypercalls.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t syscall_length = 2;
constexpr std::array argument_registers{Gpr::rdi, Gpr::rsi, Gpr::rdx, Gpr::r10, Gpr::r8};

std::int64_t dispatch(Domain& domain, Hypercall& call) {
  Statistics& statistics = domain.statistics();
  const HypercallHandler* handler = domain.hypercalls().find(call.number);
  if (handler == nullptr) {
    ++statistics.unknown_hypercalls;
    return to_rax(Errno::enosys);
  }
  ++statistics.hypercalls[call.number];
  // Releases the frames whose SharedPages devices have dropped since the last hypercall.
  domain.holds().settle(*call.held);
  return (*handler)(call);
}

}  // namespace

void GuestCpu::hypercall(pvmmu::DomainLock& lock) {
  auto memory_here = kernel_memory(lock);
  Hypercall call{id_, regs_[Gpr::rax], {}, memory_here, &lock};
  call.budget = &domain_.mmu().budget(lock);
  for (std::size_t i = 0; i < argument_registers.size(); ++i) call.args[i] = regs_[argument_registers[i]];
  trace_entered(lock, call.number);
  const std::int64_t result = dispatch(domain_, call);
  switch (call.completion) {
    case Completion::result:
      regs_[Gpr::rax] = static_cast<std::uint64_t>(result);
      // Xen returns by SYSRET, which traps at once (Intel SDM vol. 3, 17.3.1.4), if RIP is canonical.
      state_.step_due = (regs_.rflags & rflags::tf) != 0 && is_canonical(regs_.rip);
      break;
    case Completion::restart:
      ++domain_.statistics().continuations;
      regs_.rip -= syscall_length;
      for (std::size_t i = 0; i < argument_registers.size(); ++i) regs_[argument_registers[i]] = call.args[i];
      break;
    case Completion::registers_set: break;
  }
}

namespace hypercalls {
namespace {

/// Stops between two entries when the exit's budget is used up, or at an entry that has to be made again. In
/// that case the entry gets the arguments with which it goes on, as on Xen, and no result yet.
std::int64_t multicall(Domain& domain, Hypercall& call) {
  const GuestVaddr list = call.pointer(0);
  const std::uint64_t count = call.args[1] & 0xffffffff;  // of 32 bits in the ABI
  if (!is_guests(list)) return to_rax(Errno::efault);
  for (std::uint64_t i = 0; i < count; ++i) {
    const GuestVaddr at = list.plus(i * sizeof(multicall_entry));
    const auto entry = call.memory.fetch<multicall_entry>(at);
    if (!entry) return to_rax(Errno::efault);
    ++domain.statistics().multicall_entries;
    call.spend(pvmmu::cost::call);
    Hypercall inner{call.vcpu, entry->op, {}, call.memory, call.held, Completion::result, call.budget};
    for (std::size_t k = 0; k < inner.args.size(); ++k) inner.args[k] = entry->args[k];
    const std::int64_t result =
        entry->op == __HYPERVISOR_multicall ? to_rax(Errno::einval) : dispatch(domain, inner);
    if (inner.completion == Completion::registers_set) {
      call.completion = Completion::registers_set;  // an iret: whatever follows must not run (XSA-213)
      return 0;
    }
    if (inner.completion == Completion::restart) {
      multicall_entry rest = *entry;
      for (std::size_t k = 0; k < inner.args.size(); ++k) rest.args[k] = inner.args[k];
      if (!call.memory.store(at, rest)) return to_rax(Errno::efault);
    } else if (!call.memory.store(at.plus(offsetof(multicall_entry, result)), result)) {
      return to_rax(Errno::efault);
    }
    const bool restart = inner.completion == Completion::restart;
    if (domain.ended()) return 0;
    if (restart || (call.has_done_enough() && i + 1 < count)) {
      const std::uint64_t done = restart ? i : i + 1;
      call.args[0] = list.plus(done * sizeof(multicall_entry)).raw();
      call.args[1] = count - done;
      call.completion = Completion::restart;
      return 0;
    }
  }
  return 0;
}

}  // namespace

void register_multicall(Domain& domain) {
  domain.hypercalls().set(__HYPERVISOR_multicall, "multicall",
                          [&domain](Hypercall& call) { return multicall(domain, call); });
}

}  // namespace hypercalls
}  // namespace pinfold::vmm
