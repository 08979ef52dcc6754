#include "cli/gdb/domain_target.hpp"

#include <fmt/format.h>

namespace pinfold::cli::gdb {
namespace {

constexpr std::uint8_t vector_db = 1, vector_bp = 3;
/// What a debugger may set of RFLAGS: arithmetic and direction flags. The others are the monitor's business.
constexpr std::uint64_t settable_flags = vmm::rflags::cf | vmm::rflags::pf | vmm::rflags::af |
                                         vmm::rflags::zf | vmm::rflags::sf | vmm::rflags::of |
                                         vmm::rflags::df;

}  // namespace

DomainTarget::DomainTarget(vmm::Domain& domain, std::function<void()> on_stop)
    : domain_(domain), on_stop_(std::move(on_stop)), memory_(domain.mmu()) {
  const pvmmu::DomainLock lock(domain_.mutex());
  domain_.stop(lock, vmm::StopReason::debugger);
  domain_.set_debugger(lock, this);
}

DomainTarget::~DomainTarget() {
  let_go();
  const pvmmu::DomainLock lock(domain_.mutex());
  domain_.set_debugger(lock, nullptr);
}

bool DomainTarget::takes_trap(pvmmu::Held held, vmm::GuestCpu& cpu, std::uint8_t vector) {
  if (vector == vector_db) {
    if (!cpu.stops().is_stepping()) return false;
    cpu.cancel_step(held);
    report(held, cpu, Stop::Why::stepped);
    return true;
  }
  const GuestVaddr behind(cpu.regs().rip - 1);
  if (vector != vector_bp || !memory_.is_breakpoint(held, cpu.root(), behind)) return false;
  // The instruction behind the breakpoint is still to be executed.
  cpu.regs().rip = behind.raw();
  cpu.note_new_registers(held);
  cpu.cancel_step(held);
  report(held, cpu, Stop::Why::breakpoint);
  return true;
}

void DomainTarget::stepped(pvmmu::Held held, vmm::GuestCpu& cpu) { report(held, cpu, Stop::Why::stepped); }

/// Reports the first vCPU that stops. Others that stop before all are at rest stop again when they go on.
void DomainTarget::report(pvmmu::Held held, vmm::GuestCpu& cpu, Stop::Why why) {
  domain_.stop(held, vmm::StopReason::debugger);
  if (stop_) return;
  stop_ = Stop{why, cpu.id().raw()};
  on_stop_();
}

std::optional<Stop> DomainTarget::take_stop() {
  pvmmu::DomainLock lock(domain_.mutex());
  if (!stop_) return std::nullopt;
  domain_.wait_until_stopped(lock);
  return std::exchange(stop_, std::nullopt);
}

bool DomainTarget::is_up(std::uint32_t number) {
  const pvmmu::DomainLock lock(domain_.mutex());
  return cpu(number).state().up;
}

std::string DomainTarget::describe(std::uint32_t number) {
  const pvmmu::DomainLock lock(domain_.mutex());
  const vmm::CpuState& state = cpu(number).state();
  return fmt::format("vCPU {}, {}", number, !state.up ? "down" : state.kernel_mode ? "kernel" : "user");
}

CpuRegisters DomainTarget::registers(std::uint32_t number) {
  const pvmmu::DomainLock lock(domain_.mutex());
  vmm::GuestCpu& vcpu = cpu(number);
  CpuRegisters r;
  r.general = vcpu.regs();
  r.cs = vcpu.cs();
  r.ss = vcpu.ss();
  r.fs_base = vcpu.bases().fs();
  r.gs_base = vcpu.bases().active_gs();
  if (const auto fpu = vcpu.vcpu().fpu()) r.fpu = *fpu;
  return r;
}

/// Guest values: what only the processor's own rules forbid must not reach it (addresses that are not
/// canonical, flags that are the monitor's).
void DomainTarget::set_registers(std::uint32_t number, const CpuRegisters& wanted) {
  const pvmmu::DomainLock lock(domain_.mutex());
  vmm::GuestCpu& vcpu = cpu(number);
  vmm::Registers& r = vcpu.regs();
  const std::uint64_t flags = r.rflags;
  const std::uint64_t rip = r.rip;
  r = wanted.general;
  r.rflags = (flags & ~settable_flags) | (wanted.general.rflags & settable_flags);
  if (!is_canonical(r.rip) || in_xen_range(r.rip)) r.rip = rip;
  if (is_canonical(wanted.fs_base)) vcpu.bases().set_fs(wanted.fs_base);
  if (is_canonical(wanted.gs_base)) vcpu.bases().set_active_gs(wanted.gs_base);
  (void)vcpu.vcpu().set_fpu(wanted.fpu);
  vcpu.note_new_registers(lock);
}

Mfn DomainTarget::root_for(pvmmu::Held held, std::uint32_t number, std::uint64_t address) {
  const auto leaf = domain_.mmu().walk(held, cpu(number).root(), GuestVaddr(address));
  return leaf && leaf->entry.present() ? cpu(number).root() : cpu(number).state().kernel_root;
}

std::size_t DomainTarget::read(std::uint32_t number, std::uint64_t from, std::span<std::byte> to) {
  const pvmmu::DomainLock lock(domain_.mutex());
  return memory_.read(lock, root_for(lock, number, from), GuestVaddr(from), to);
}

bool DomainTarget::write(std::uint32_t number, std::uint64_t to, std::span<const std::byte> from) {
  const pvmmu::DomainLock lock(domain_.mutex());
  return memory_.write(lock, root_for(lock, number, to), GuestVaddr(to), from);
}

bool DomainTarget::insert_breakpoint(std::uint32_t number, std::uint64_t at) {
  const pvmmu::DomainLock lock(domain_.mutex());
  return memory_.insert(lock, root_for(lock, number, at), GuestVaddr(at));
}

bool DomainTarget::remove_breakpoint(std::uint32_t number, std::uint64_t at) {
  const pvmmu::DomainLock lock(domain_.mutex());
  return memory_.remove(lock, root_for(lock, number, at), GuestVaddr(at));
}

void DomainTarget::resume(const std::vector<Motion>& motions) {
  const pvmmu::DomainLock lock(domain_.mutex());
  stop_.reset();
  for (std::uint32_t i = 0; i < motions.size(); ++i) {
    vmm::GuestCpu& vcpu = cpu(i);
    vcpu.cancel_step(lock);
    if (motions[i] == Motion::step) vcpu.step(lock);
    if (motions[i] != Motion::stay) vcpu.go_on(lock, vmm::StopReason::debugger);
  }
}

Stop DomainTarget::interrupt() {
  pvmmu::DomainLock lock(domain_.mutex());
  domain_.stop(lock, vmm::StopReason::debugger);
  domain_.wait_until_stopped(lock);
  return std::exchange(stop_, std::nullopt).value_or(Stop{});
}

void DomainTarget::let_go() {
  const pvmmu::DomainLock lock(domain_.mutex());
  memory_.remove_all(lock);
  stop_.reset();
  for (std::uint32_t i = 0; i < domain_.vcpu_count(); ++i) cpu(i).cancel_step(lock);
  domain_.go_on(lock, vmm::StopReason::debugger);
}

void DomainTarget::kill() { domain_.end(vmm::Ending::left, "ended by the debugger"); }

}  // namespace pinfold::cli::gdb
