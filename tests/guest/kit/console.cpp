// A test guest's output: by console_io if the hypervisor has it, else by the console ring of start_info.
#include <xen/event_channel.h>
#include <xen/io/console.h>

#include "kit/kit.hpp"

namespace kit {
namespace {

bool to_hypervisor(const char* text, u64 size) {
  return hypercall(__HYPERVISOR_console_io, CONSOLEIO_write, size, text) == 0;
}

void notify() {
  evtchn_send send{info->console.domU.evtchn};
  hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send);
}

void to_ring(const char* text, u64 size) {
  if (is_dom0() || info->console.domU.mfn == 0) return;
  auto* ring = reinterpret_cast<xencons_interface*>(page_of(info->console.domU.mfn));
  for (u64 i = 0; i < size; ++i) {
    u32 produced = ring->out_prod;
    while (produced - __atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE) >= sizeof ring->out) notify();
    ring->out[MASK_XENCONS_IDX(produced, ring->out)] = text[i];
    __atomic_store_n(&ring->out_prod, produced + 1, __ATOMIC_RELEASE);
  }
  notify();
}

u64 length(const char* text) {
  u64 n = 0;
  while (text[n] != 0) ++n;
  return n;
}

}  // namespace

void put(const char* text) {
  const u64 size = length(text);
  if (!to_hypervisor(text, size)) to_ring(text, size);
}

void put(Hex number) {
  char text[19] = "0x";
  for (int i = 0; i < 16; ++i) text[2 + i] = "0123456789abcdef"[number.value >> (60 - 4 * i) & 15];
  text[18] = 0;
  put(text);
}

void put(long number) {
  char text[24];
  char* at = text + sizeof text;
  *--at = 0;
  u64 rest = number < 0 ? 0 - static_cast<u64>(number) : static_cast<u64>(number);
  do *--at = static_cast<char>('0' + rest % 10);
  while ((rest /= 10) != 0);
  if (number < 0) *--at = '-';
  put(at);
}

}  // namespace kit
