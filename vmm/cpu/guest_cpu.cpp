#include "vmm/cpu/guest_cpu.hpp"

#include <fmt/format.h>

#include "vmm/domain.hpp"

namespace pinfold::vmm {

GuestCpu::GuestCpu(Domain& domain, VcpuId id, Vcpu vcpu)
    : domain_(domain),
      id_(id),
      vcpu_(std::move(vcpu)),
      processor_(*this),
      processor_bases_(vcpu_, domain.flushes().duties(), id),
      bases_(processor_bases_, domain.ending()),
      descriptors_({id, domain.mmu(), domain.gate(), domain.flushes(), state_.kernel_root}),
      traps_({regs_, state_, bases_, domain.assists()}),
      stubs_({id, domain.config().host.stale_entries, domain.mmu(), domain.stale(), domain.gate(),
              domain.flushes().duties(), domain.statistics()}),
      gate_link_({id, domain.gate(), state_, traps_.entry_points(), bases_, domain.assists()}),
      traced_(domain.trace() != nullptr),
      wakeup_(domain.statistics().signals),
      sleep_({wakeup_, timers_, run_state_, stops_, domain.statistics(), domain.pollers(), *this}) {}

KvmResult<std::unique_ptr<GuestCpu>> GuestCpu::create(Domain& domain, VcpuId id) {
  auto vcpu = domain.vm().create_vcpu(id.raw());
  if (!vcpu) return tl::unexpected(vcpu.error());
  if (domain.config().host.fast_paths) vcpu->fetch_sregs_on_demand();  // the gate's exits need none
  return std::unique_ptr<GuestCpu>(new GuestCpu(domain, id, std::move(*vcpu)));
}

GuestAccess GuestCpu::memory(pvmmu::Held held) { return {domain_.mmu(), held, root()}; }
GuestAccess GuestCpu::kernel_memory(pvmmu::Held held) { return {domain_.mmu(), held, state_.kernel_root}; }

/// The registers of the ABI's boot protocol (xen/xen.h, "64-bit PV guest's initial state").
void GuestCpu::start_at(GuestVaddr entry, GuestVaddr stack, GuestVaddr start_info) {
  regs_ = GuestRegisters{};
  regs_.rip = entry.raw();
  regs_[Gpr::rsp] = stack.raw();
  regs_[Gpr::rsi] = start_info.raw();
  regs_.rflags = rflags::fixed | rflags::if_;
  traps_.entry_points().kernel_sp = stack.raw();
  traps_.entry_points().kernel_ss = gate::data3;
  state_.up = true;
  state_.initialised = true;
  regs_.changed = true;
  run_state_.enter(RunState::running, domain_.clock().now());
}

void GuestCpu::drop_everything(pvmmu::Held held) {
  descriptors_.drop(held);
  unload_roots(held);
}

std::string GuestCpu::describe(pvmmu::Held held) {
  const auto& r = regs_;
  std::string text = fmt::format(
      "vCPU {} in guest {} mode\n"
      "  rip {:016x}  cs {:04x}  rflags {:08x}  rsp {:016x}  ss {:04x}\n"
      "  rax {:016x}  rbx {:016x}  rcx {:016x}  rdx {:016x}\n"
      "  rsi {:016x}  rdi {:016x}  rbp {:016x}  r8  {:016x}\n"
      "  r9  {:016x}  r10 {:016x}  r11 {:016x}  r12 {:016x}\n"
      "  r13 {:016x}  r14 {:016x}  r15 {:016x}\n"
      "  fs base {:016x}  gs base {:016x}  root {:#x} (user {:#x})",
      id_.raw(), state_.kernel_mode ? "kernel" : "user", r.rip, regs_.cs, r.rflags, r[Gpr::rsp], regs_.ss,
      r[Gpr::rax], r[Gpr::rbx], r[Gpr::rcx], r[Gpr::rdx], r[Gpr::rsi], r[Gpr::rdi], r[Gpr::rbp], r[Gpr::r8],
      r[Gpr::r9], r[Gpr::r10], r[Gpr::r11], r[Gpr::r12], r[Gpr::r13], r[Gpr::r14], r[Gpr::r15], bases_.fs(),
      bases_.active_gs(), state_.kernel_root.raw(), state_.user_root.raw());
  const auto code = instruction(held);
  if (!code.empty()) {
    text += "\n  code ";
    for (const std::byte b : code) text += fmt::format(" {:02x}", static_cast<unsigned>(b));
  }
  return text;
}

}  // namespace pinfold::vmm
