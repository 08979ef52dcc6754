// TEST ONLY. A resident path that lies: what the gate can do at worst with what it has mapped, if somebody
// takes it over. The low bits of a request's `ptr` say what it does instead of a page-table update. Linked
// into pinfold_lying_gate instead of vmm/gate/resident.cpp; nothing of this is in pinfold.
#include <atomic>

#include "vmm/gate/control_page.hpp"
#include "vmm/gate/frames.hpp"
#include "vmm/gate/layout.hpp"
#include "vmm/gate/state_page.hpp"

#include "pvmmu/frame.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::vmm::gate;

volatile std::uint64_t& word(std::uint64_t address) {
  return *reinterpret_cast<volatile std::uint64_t*>(address);
}

/// See walls/lying_gate.cpp, which asks for them.
enum Lie : std::uint64_t {
  forges_root = 3,
  forges_uses = 4,
  skips_mirror = 5,
  keeps_lock = 6,
  writes_mirror = 7
};

}  // namespace

/// `ptr` names an entry of an L1 of the domain; for forges_uses, a frame.
extern "C" [[gnu::section("pinfold_resident_text"), gnu::flatten]] std::uint64_t pinfold_resident(
    ResidentCall call, std::uint64_t, StatePage* state) {
  if (call != ResidentCall::update) return 0;
  const auto [ptr, val] = state->requests[0];
  const std::uint64_t where = ptr & ~std::uint64_t{7}, mfn = where >> page_shift;
  const auto* const facts = reinterpret_cast<const pvmmu::FrameFacts*>(slot_base(facts_slot)) + mfn;
  const std::uint64_t mirror =
      slot_base(arena_slot) + (std::uint64_t{facts->mirror} << page_shift) + (where & (page_size - 1));
  switch (ptr & 7) {
    case forges_uses: word(slot_base(uses_slot) + mfn * sizeof(pvmmu::FrameUses)) = val; return 1;
    case skips_mirror: word(slot_base(windows_slot) + where) = val; return 1;
    case writes_mirror: word(mirror) = val; return 1;
    case keeps_lock:
      // And the lock of a table.
      state->resident_flags.inside = 1;
      reinterpret_cast<ControlPage*>(control_page)->lock_of(Mfn(mfn)).owner = state->cpu_plus_1;
      return 1;
    case forges_root:
      // A value of 0: the kernel's; else the programs'.
      (val == 0 ? state->kernel_root : state->user_root) = mfn;
      state->resident_flags.roots_moved = 1;
      return 1;
    default: return 0;
  }
}
