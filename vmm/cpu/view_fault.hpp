// What to say about an access that the guest's tables permit and its view does not.
#pragma once

#include <span>
#include <string>

#include "pvmmu/validator.hpp"
#include "vmm/emulate/decode.hpp"
#include "vmm/emulate/operands.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm {

/// The code that made the access, with all that its operands may use.
struct FaultingCode {
  Mfn root;  ///< The page table that it ran on.
  const Registers& registers;
  SegmentBases bases;
  std::span<const std::byte> bytes;  ///< Of the instruction; empty if it can't be read.
  CodeWidth width;
};

/// One line: which frame it was, whose, what type it has, and through which address the guest reached it. KVM
/// tells only that it happened, not where: each address that the instruction may touch is looked up.
///
/// Concurrency: needs the domain's lock.
[[nodiscard]] std::string explain_view_fault(pvmmu::Held held, const pvmmu::Validator& mmu,
                                             const FaultingCode& code);

/// The same where KVM tells the frame: an access by code at CPL0, which KVM emulated.
[[nodiscard]] std::string explain_physical_access(const pvmmu::Validator& mmu, Mfn mfn, bool writes);

}  // namespace pinfold::vmm
