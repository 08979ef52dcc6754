// What every frontend needs (xen/io/xenbus.h): nodes in the store, grants, ports. For test guests that drive
// a device by hand.
#pragma once

#include <xen/io/xenbus.h>

#include "events/ports.hpp"
#include "kit/grants.hpp"
#include "kit/store_ring.hpp"

namespace kit {

// -- text
struct Text {
  char chars[128] = {};
  u32 size = 0;
  Text& add(const char* text) {
    while (*text != 0) chars[size++] = *text++;
    return *this;
  }
  Text& add(u64 value) {
    char digits[20];
    u32 count = 0;
    do digits[count++] = static_cast<char>('0' + value % 10);
    while ((value /= 10) != 0);
    while (count != 0) chars[size++] = digits[--count];
    return *this;
  }
};

// -- the store: one request and its reply
inline u32 store_request(u32 type, const Text& path, const Text& value, char* reply, u32 reply_size) {
  auto* ring = store::ring();
  const xsd_sockmsg header{type, 0, 0, path.size + 1 + value.size};
  u32 produced = ring->req_prod;
  const auto put = [&](const char* bytes, u32 count) {
    for (u32 i = 0; i < count; ++i) ring->req[MASK_XENSTORE_IDX(produced++)] = bytes[i];
  };
  put(reinterpret_cast<const char*>(&header), sizeof header);
  put(path.chars, path.size + 1);
  put(value.chars, value.size);
  __atomic_store_n(&ring->req_prod, produced, __ATOMIC_SEQ_CST);
  CHECK_EQ(store::notify(), 0);
  const u32 from = ring->rsp_cons, count = __atomic_load_n(&ring->rsp_prod, __ATOMIC_SEQ_CST) - from;
  u32 length = 0;
  for (u32 i = sizeof(xsd_sockmsg); i < count && length + 1 < reply_size; ++i)
    reply[length++] = ring->rsp[MASK_XENSTORE_IDX(from + i)];
  reply[length] = 0;
  ring->rsp_cons = from + count;
  return length;
}
inline void nap() { (void)poll(nullptr, 0, now_ns() + millisecond / 4); }

/// The nodes of one device of this guest's.
struct DeviceNodes {
  const char* kind;
  u32 number;

  [[nodiscard]] Text path(const char* name) const {
    return Text().add("device/").add(kind).add("/").add(number).add("/").add(name);
  }
  void write(const char* name, const Text& value) const {
    char reply[16];
    store_request(XS_WRITE, path(name), value, reply, sizeof reply);
  }
  void write(const char* name, u64 value) const { write(name, Text().add(value)); }
  void remove(const char* name) const {
    char reply[16];
    Text node = path(name);
    store_request(XS_RM, node, {}, reply, sizeof reply);
  }
  /// The first character of the backend's state; 0 if it can't be read.
  [[nodiscard]] char backend_state() const {
    char domain[16], state[16];
    store_request(XS_READ, Text().add("domid"), {}, domain, sizeof domain);
    store_request(XS_READ,
                  Text()
                      .add("/local/domain/0/backend/")
                      .add(kind)
                      .add("/")
                      .add(domain)
                      .add("/")
                      .add(number)
                      .add("/state"),
                  {}, state, sizeof state);
    return state[0];
  }
  [[nodiscard]] bool reaches(char state) const {
    for (const u64 end = now_ns() + 10 * second_ns; now_ns() < end; nap())
      if (backend_state() == state) return true;
    return false;
  }
};

// -- grants
inline void grant(u32 ref, u64 frame, u16 flags = GTF_permit_access, u16 domain = 0) {
  grant_to(domain, ref, frame, flags);
}

/// A port that waits for the backend's domain.
inline u32 new_port() {
  evtchn_alloc_unbound args{DOMID_SELF, 0, 0};
  CHECK_EQ(channel_op(EVTCHNOP_alloc_unbound, args), 0);
  return args.port;
}

}  // namespace kit
