// TEST ONLY. A gate without protection: its entry for #BP loads CR3 from RAX and goes on at CPL0. So with
// INT3 a guest gets the VM's highest privilege, with page tables of its own. This is linked into
// pinfold_fallen_gate, not into pinfold.
#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "vmm/gate/layout.hpp"
#include "vmm/gate/text.hpp"

namespace {

const bool fell = [] {
  constexpr std::array<std::uint8_t, 3> load_cr3_from_rax{0x0f, 0x22, 0xd8};
  constexpr unsigned breakpoint = 3;
  constexpr std::uintptr_t page = 4096;
  for (const std::byte* entries : {pinfold_gate_kernel_begin, pinfold_fast_exceptions}) {
    const auto entry =
        reinterpret_cast<std::uintptr_t>(entries) + breakpoint * pinfold::vmm::gate::exception_stub_size;
    void* const first = reinterpret_cast<void*>(entry & ~(page - 1));
    if (::mprotect(first, 2 * page, PROT_READ | PROT_WRITE) != 0) std::abort();
    std::memcpy(reinterpret_cast<void*>(entry), load_cr3_from_rax.data(), load_cr3_from_rax.size());
  }
  std::fputs("pinfold_fallen_gate: THE GATE IS THE GUEST'S; this program is for tests of the other walls\n",
             stderr);
  return true;
}();

}  // namespace
