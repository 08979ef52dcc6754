#include "cli/run/crash_report.hpp"

#include <fmt/format.h>

#include "vmm/debug/backtrace.hpp"

namespace pinfold::cli {
namespace {

std::string place(std::uint64_t address, const SystemMap& symbols) {
  return symbols.find(address) ? fmt::format("{:016x} {}", address, symbols.describe(address))
                               : fmt::format("{:016x}", address);
}

std::string call_trace(pvmmu::Held held, vmm::Domain& domain, vmm::GuestCpu& cpu, const SystemMap& symbols) {
  const vmm::Registers& r = cpu.regs();
  std::string text =
      fmt::format("call trace of vCPU {} ('?': found on the stack, perhaps left over)\n    {}\n",
                  cpu.id().raw(), place(r.rip, symbols));
  for (const vmm::StackEntry& entry :
       vmm::scan_stack(held, domain.mmu(), cpu.root(), r[vmm::Gpr::rsp], r[vmm::Gpr::rbp]))
    text += fmt::format("  {} {}\n", entry.certain ? ' ' : '?', place(entry.address, symbols));
  return text;
}

}  // namespace

std::string crash_report(vmm::Domain& domain, const vmm::End& end, const SystemMap& symbols) {
  const pvmmu::DomainLock lock(domain.mutex());
  std::string report;
  for (std::uint32_t i = 0; i < domain.vcpu_count(); ++i) {
    vmm::GuestCpu& cpu = domain.cpu(VcpuId(i));
    if (!cpu.state().initialised) continue;
    const bool shown = end.why.find(fmt::format("\nvCPU {} in guest ", i)) != std::string::npos;
    if (!shown) report += cpu.describe(lock) + "\n";
    if (cpu.state().kernel_mode) report += call_trace(lock, domain, cpu, symbols);
  }
  return report;
}

}  // namespace pinfold::cli
