// The guest's UUID is the same in all places: XENVER_guest_handle, /local/domain/<id>/vm, /vm/<uuid>/uuid.
// With `reboots` the guest then reboots.
#include <xen/event_channel.h>
#include <xen/io/xs_wire.h>
#include <xen/sched.h>
#include <xen/version.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 uuid_length = 36;

struct Text {
  char bytes[128] = {};
  u64 size = 0;
  void add(char c) {
    if (size < sizeof bytes - 1) bytes[size++] = c;
  }
  void add(const char* text) {
    while (*text != 0) add(*text++);
  }
};

bool equal(const Text& a, const Text& b) {
  if (a.size != b.size) return false;
  for (u64 i = 0; i < a.size; ++i)
    if (a.bytes[i] != b.bytes[i]) return false;
  return true;
}

Text as_text(const u8 (&handle)[16]) {
  Text text;
  for (u64 i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.add('-');
    text.add("0123456789abcdef"[handle[i] >> 4]);
    text.add("0123456789abcdef"[handle[i] & 15]);
  }
  return text;
}

// -- the store, by its ring (xen/io/xs_wire.h)

xenstore_domain_interface* ring() {
  return reinterpret_cast<xenstore_domain_interface*>(page_of(info->store_mfn));
}

void send(const void* bytes, u64 size) {
  for (u64 i = 0; i < size; ++i) {
    const u32 at = ring()->req_prod;
    ring()->req[MASK_XENSTORE_IDX(at)] = static_cast<const char*>(bytes)[i];
    __atomic_store_n(&ring()->req_prod, at + 1, __ATOMIC_RELEASE);
  }
}

void receive(void* bytes, u64 size) {
  for (u64 i = 0; i < size; ++i) {
    const u32 at = ring()->rsp_cons;
    while (__atomic_load_n(&ring()->rsp_prod, __ATOMIC_ACQUIRE) == at) {
      evtchn_send event{info->store_evtchn};
      hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &event);
    }
    static_cast<char*>(bytes)[i] = ring()->rsp[MASK_XENSTORE_IDX(at)];
    __atomic_store_n(&ring()->rsp_cons, at + 1, __ATOMIC_RELEASE);
  }
}

/// The value of a node; empty if it can't be read.
Text read_node(const Text& path) {
  const xsd_sockmsg request{XS_READ, 1, 0, static_cast<u32>(path.size + 1)};
  send(&request, sizeof request);
  send(path.bytes, path.size + 1);
  xsd_sockmsg answer{};
  receive(&answer, sizeof answer);
  Text value;
  for (u32 i = 0; i < answer.len; ++i) {
    char c = 0;
    receive(&c, 1);
    value.add(c);
  }
  return answer.type == XS_READ ? value : Text{};
}

}  // namespace

void test() {
  u8 handle[16] = {};
  CHECK_EQ(hypercall(__HYPERVISOR_xen_version, XENVER_guest_handle, handle), 0);
  const Text uuid = as_text(handle);
  say("uuid ", uuid.bytes);
  u64 any = 0;
  for (const u8 byte : handle) any |= byte;
  CHECK(any != 0);
  CHECK_EQ(uuid.size, uuid_length);

  Text vm_path, place, uuid_path;
  vm_path.add("vm");  // relative to the domain's own
  place.add("/vm/");
  place.add(uuid.bytes);
  uuid_path.add(place.bytes);
  uuid_path.add("/uuid");
  CHECK(equal(read_node(vm_path), place));
  CHECK(equal(read_node(uuid_path), uuid));

  if (asked_for("reboots")) shut_down(SHUTDOWN_reboot);
}
