// Trap handling in C++; shared_info and its time.
#include "kit/kit.hpp"

std::uint64_t kit_recovery = 0;

namespace kit {

void (*on_trap)(Frame&) = nullptr;
Caught caught;

namespace {

constexpr u64 entry_size = 32;

[[noreturn]] void unexpected(const Frame& f) {
  say("FAILED: unexpected trap ", static_cast<long>(f.vector), ", error code ", hex(f.error), ", rip ",
      hex(f.rip), ", cr2 ", hex(cr2()));
  count_check(false, "trap", 0, "no trap");
  finish();
}

}  // namespace

void install_traps(u8 flags) {
  static trap_info_t table[33];
  for (u16 vector = 0; vector < 32; ++vector)
    table[vector] = trap_info_t{static_cast<u8>(vector), flags, FLAT_KERNEL_CS,
                                word(kit_trap_entries) + vector * entry_size};
  CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, table), 0);
}

u64 cr2() { return shared()->vcpu_info[0].arch.cr2; }

shared_info_t* shared() {
  static Page* place = nullptr;
  if (place == nullptr) {
    Page* page = new_page();
    if (map(page, info->shared_info | data) != 0) return nullptr;
    place = page;
  }
  return reinterpret_cast<shared_info_t*>(place);
}

u64 now_ns() {
  const volatile vcpu_time_info_t& time = shared()->vcpu_info[0].time;
  for (;;) {
    const u32 version = time.version;
    asm volatile("" ::: "memory");
    u32 low, high;
    asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    u64 ticks = (static_cast<u64>(high) << 32 | low) - time.tsc_timestamp;
    const int shift = time.tsc_shift;
    ticks = shift < 0 ? ticks >> -shift : ticks << shift;
    const u64 ns = time.system_time +
                   static_cast<u64>(static_cast<unsigned __int128>(ticks) * time.tsc_to_system_mul >> 32);
    asm volatile("" ::: "memory");
    if ((version & 1) == 0 && version == time.version) return ns;
  }
}

}  // namespace kit

extern "C" void kit_on_trap(kit::Frame* frame) {
  using namespace kit;
  if (kit_recovery != 0 && frame->vector < 32) {
    caught = Caught{frame->vector, frame->error, frame->vector == 14 ? cr2() : 0, frame->rip};
    frame->rip = kit_recovery;
    kit_recovery = 0;
    return;
  }
  if (on_trap == nullptr) unexpected(*frame);
  on_trap(*frame);
}
