// Reads lines from its console and answers each: `flood` by 2 MB of numbered lines, `end` by powering off,
// any other line by itself.
#include <xen/event_channel.h>
#include <xen/io/console.h>
#include <xen/sched.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr long flood_lines = 32768;

/// Waits for a byte.
char read_byte() {
  auto* ring = reinterpret_cast<xencons_interface*>(page_of(info->console.domU.mfn));
  const u32 consumed = ring->in_cons;
  while (__atomic_load_n(&ring->in_prod, __ATOMIC_ACQUIRE) == consumed)
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, 0);
  const char byte = ring->in[MASK_XENCONS_IDX(consumed, ring->in)];
  __atomic_store_n(&ring->in_cons, consumed + 1, __ATOMIC_RELEASE);
  evtchn_send send{info->console.domU.evtchn};
  hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send);
  return byte;
}

bool equal(const char* a, const char* b) {
  while (*a != 0 && *a == *b) ++a, ++b;
  return *a == *b;
}

}  // namespace

void test() {
  say("ready");
  for (;;) {
    char line[128];
    u64 size = 0;
    for (char byte = read_byte(); byte != '\n'; byte = read_byte())
      if (size < sizeof line - 1) line[size++] = byte;
    line[size] = 0;
    if (equal(line, "end")) return;
    if (equal(line, "flood"))
      for (long i = 1; i <= flood_lines; ++i)
        say("flood ", i, " of many lines that nobody may have time to read");
    say("echo ", static_cast<const char*>(line));
  }
}
