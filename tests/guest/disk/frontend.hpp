// A block frontend that drives its ring by hand (xen/io/blkif.h), for test guests.
#pragma once

#include <xen/grant_table.h>
#include <xen/io/blkif.h>
#include <xen/io/xenbus.h>

#include "events/ports.hpp"
#include "kit/store_ring.hpp"

namespace kit::disk {

inline constexpr u32 number = 51712;  // xvda
inline constexpr u32 ring_ref = 8;
inline constexpr int error = BLKIF_RSP_ERROR, okay = BLKIF_RSP_OKAY, unsupported = BLKIF_RSP_EOPNOTSUPP;
/// The backend did not answer.
inline constexpr int silence = 99;

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
inline void store_write(const char* name, u64 value) {
  char reply[16];
  store_request(XS_WRITE, Text().add("device/vbd/").add(number).add("/").add(name), Text().add(value), reply,
                sizeof reply);
}
/// The first character of the backend's state; 0 if it can't be read.
inline char backend_state() {
  char domain[16], state[16];
  store_request(XS_READ, Text().add("domid"), {}, domain, sizeof domain);
  store_request(XS_READ,
                Text().add("/local/domain/0/backend/vbd/").add(domain).add("/").add(number).add("/state"), {},
                state, sizeof state);
  return state[0];
}
inline void nap() { (void)poll(nullptr, 0, now_ns() + millisecond / 4); }
inline bool reaches(char state) {
  for (const u64 end = now_ns() + 10 * second_ns; now_ns() < end; nap())
    if (backend_state() == state) return true;
  return false;
}

// -- grants
inline grant_entry_v1* grants() {
  static grant_entry_v1* table = [] {
    u64 frame = 0;
    gnttab_setup_table setup{};
    setup.dom = DOMID_SELF;
    setup.nr_frames = 1;
    setup.frame_list.p = &frame;
    CHECK_EQ(hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, &setup, 1), 0);
    Page* window = new_page();
    CHECK_EQ(map(window, frame * page_size | data), 0);
    return reinterpret_cast<grant_entry_v1*>(window);
  }();
  return table;
}
inline void grant(u32 ref, u64 frame, u16 flags = GTF_permit_access, u16 domain = 0) {
  grants()[ref].domid = domain;
  grants()[ref].frame = static_cast<u32>(frame);
  __atomic_store_n(&grants()[ref].flags, flags, __ATOMIC_SEQ_CST);
}
inline u16 flags_of(u32 ref) { return __atomic_load_n(&grants()[ref].flags, __ATOMIC_SEQ_CST); }

// -- the ring
struct Ring {
  blkif_sring* shared = nullptr;
  u32 port = 0, produced = 0, consumed = 0;

  void connect() {
    if (shared == nullptr) shared = reinterpret_cast<blkif_sring*>(new_page());
    *reinterpret_cast<Page*>(shared) = {};
    shared->req_event = shared->rsp_event = 1;
    produced = consumed = 0;
    grant(ring_ref, mfn_of(shared));
    evtchn_alloc_unbound args{DOMID_SELF, 0, 0};
    CHECK_EQ(channel_op(EVTCHNOP_alloc_unbound, args), 0);
    port = args.port;
    store_write("ring-ref", ring_ref);
    store_write("event-channel", port);
    store_write("state", XenbusStateInitialised);
    CHECK(reaches('4'));
  }
  void begin_again() {
    store_write("state", XenbusStateClosed);
    CHECK(reaches('6'));
    CHECK_EQ(flags_of(ring_ref), GTF_permit_access);
    store_write("state", XenbusStateInitialising);
    CHECK(reaches('2'));
    CHECK_EQ(close(port), 0);
  }
  /// The entry behind the last request.
  blkif_request& next() { return shared->ring[produced % 32].req; }
  void push() {
    ++produced;
    __atomic_store_n(&shared->req_prod, produced, __ATOMIC_SEQ_CST);
    CHECK_EQ(send(port), 0);
  }
  /// Waits for a response, and returns its status.
  int take() {
    for (const u64 end = now_ns() + 10 * second_ns; now_ns() < end; nap()) {
      if (__atomic_load_n(&shared->rsp_prod, __ATOMIC_SEQ_CST) == consumed) continue;
      return shared->ring[consumed++ % 32].rsp.status;
    }
    return silence;
  }
  int ask(const blkif_request& request) {
    next() = request;
    push();
    return take();
  }
};

inline blkif_request request(int operation, u64 sector, u32 ref, int first = 0, int last = 7) {
  blkif_request r{};
  r.operation = static_cast<u8>(operation);
  r.nr_segments = 1;
  r.sector_number = sector;
  r.seg[0] = {ref, static_cast<u8>(first), static_cast<u8>(last)};
  return r;
}

}  // namespace kit::disk
