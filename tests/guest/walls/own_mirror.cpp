// The validator approves everything. The guest looks for the mirror of its table, which lies above all frames
// that guests can own. If it reaches the mirror, it makes entries there for its own page table, or for a
// frame that is not its own.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 first_monitor_frame = 1UL << 26, frames_to_try = 1024;

/// Is this the table's mirror: does it refer to the same frames in all slots but the one that changes?
bool mirrors(const volatile Page& candidate, const Page& table, u64 but) {
  u64 same = 0;
  for (u64 i = 0; i < 512; ++i) {
    if (i == but) continue;
    if (((candidate.words[i] ^ table.words[i]) & address_bits) != 0) return false;
    if ((candidate.words[i] & present) != 0) ++same;
  }
  return same > 8;
}

}  // namespace

void test() {
  install_traps();
  auto* const window = static_cast<volatile Page*>(new_page());
  // No processor caches an entry that is not present.
  auto* const forged = reinterpret_cast<volatile Page*>(unmapped_address());
  const Page* const table = table_of(1, word(forged));
  for (u64 frame = first_monitor_frame; frame < first_monitor_frame + frames_to_try; ++frame) {
    if (map(word(window), frame * page_size | data) != 0) {
      say("the validator stands");
      return;
    }
    if (!mirrors(*window, *table, slot_of(1, word(window)))) continue;
    say("found the table that the processor walks in frame ", hex(frame));
    const u64 wanted = asked_for("own-table") ? mfn_of(table) : foreign_frame();
    window->words[slot_of(1, word(forged))] = wanted * page_size | data | user;
    if (asked_for("read")) {
      say("READ it: ", hex(forged->words[1]));
    } else if (asked_for("execute")) {
      asm volatile("call *%0" : : "r"(forged) : "memory");
      say("RAN it");
    } else {
      forged->words[511] = 0x1234567;
      say("WROTE it");
    }
    return;
  }
  say("FAILED: the processor's table is nowhere");
}
