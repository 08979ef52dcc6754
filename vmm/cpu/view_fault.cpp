#include "vmm/cpu/view_fault.hpp"

#include <fmt/format.h>

#include "vmm/domain.hpp"
#include "vmm/emulate/accesses.hpp"

namespace pinfold::vmm {
namespace {

enum class Access : std::uint8_t { read, write, execute };

constexpr const char* verb(Access access) {
  switch (access) {
    case Access::read: return "read";
    case Access::write: return "write";
    case Access::execute: break;
  }
  return "execute";
}

/// What is wrong with the domain's access to a frame; empty if the view should have allowed it.
std::string objection(const pvmmu::Validator& mmu, Mfn mfn, Access access) {
  if (mfn >= pvmmu::first_monitor_frame) return "which is the monitor's";
  if (!mmu.contains(mfn)) return "which is past the end of the machine";
  const pvmmu::Frame frame = mmu.frame(mfn);
  if (frame.owner_tag() == 0) return "which is nobody's";
  if (!mmu.owns(mfn)) return fmt::format("which is domain {}'s", frame.owner().raw());
  if (access == Access::write && frame.type_count != 0 && pvmmu::is_protected(frame.type))
    return fmt::format("which is the domain's own, typed {} ({} references, {} of them to the type{})",
                       pvmmu::name(frame.type), frame.refs, frame.type_count, frame.pinned ? ", pinned" : "");
  return {};
}

}  // namespace

std::string explain_view_fault(pvmmu::Held held, const pvmmu::Validator& mmu, const FaultingCode& code) {
  const auto look = [&](std::uint64_t address, Access access) -> std::string {
    const auto leaf = mmu.walk(held, code.root, GuestVaddr(address));
    if (!leaf || !leaf->entry.present()) return {};
    const Mfn mfn = leaf->entry.mfn();
    const std::string why = objection(mmu, mfn, access);
    if (why.empty()) return {};
    return fmt::format(
        "the guest tried to {} frame {:#x} at {:#x}, {}; its page tables (entry {:#x}, slot {} of table "
        "{:#x}) permit it, "
        "its view does not",
        verb(access), mfn.raw(), address, why, leaf->entry.raw(), leaf->slot, leaf->table.raw());
  };
  if (std::string found = look(code.registers.rip, Access::execute); !found.empty()) return found;
  if (const auto decoded = decode(code.bytes, code.width)) {
    const MemoryAccesses accesses(*decoded, code.registers, code.bases);
    for (const MemoryAccess& access : accesses.all())
      if (std::string found = look(access.address, access.writes ? Access::write : Access::read);
          !found.empty())
        return found;
  }
  return "the guest touched a frame that its view keeps from it, although its page tables permit it";
}

std::string explain_physical_access(const pvmmu::Validator& mmu, Mfn mfn, bool writes) {
  const Access access = writes ? Access::write : Access::read;
  const std::string why = objection(mmu, mfn, access);
  return fmt::format(
      "code at CPL0 of the domain's VM tried to {} frame {:#x}, {}; its view does not permit it",
      verb(access), mfn.raw(), why.empty() ? "which it may not" : why);
}

void GuestCpu::on_view_fault(pvmmu::Held held) {
  domain_.statistics().count(ExitReason::view_fault);
  const CodeWidth width = is_64bit_code(held, regs_.cs) ? CodeWidth::bits64 : CodeWidth::bits32;
  const FaultingCode code{root(), regs_, SegmentBases{bases_.fs(), bases_.active_gs()}, instruction(held),
                          width};
  domain_.end(Ending::isolation_fault, explain_view_fault(held, domain_.mmu(), code) + "\n" + describe(held));
}

bool GuestCpu::end_on_breach(pvmmu::Held held) {
  const pvmmu::Breach* const breach = domain_.mmu().breach();
  if (breach == nullptr) [[likely]]
    return false;
  domain_.end(Ending::isolation_fault, breach->describe() + "\n" + describe(held));
  return true;
}

}  // namespace pinfold::vmm
