#include "vmm/statistics.hpp"

namespace pinfold::vmm {

const char* name(ExitReason reason) {
  static constexpr std::array<const char*, exit_reasons> names{
      "hypercall",       "guest syscall", "page fault",    "protection fault", "invalid opcode",
      "other exception", "interrupted",   "filled by KVM", "view fault",       "other"};
  return names[static_cast<std::size_t>(reason)];
}

}  // namespace pinfold::vmm
