// A block frontend that drives its ring by hand (xen/io/blkif.h), for test guests.
#pragma once

#include <xen/io/blkif.h>

#include "kit/frontend.hpp"

namespace kit::disk {

inline constexpr DeviceNodes nodes{"vbd", 51712};  // xvda
inline constexpr u32 ring_ref = 8;
inline constexpr int error = BLKIF_RSP_ERROR, okay = BLKIF_RSP_OKAY, unsupported = BLKIF_RSP_EOPNOTSUPP;
/// The backend did not answer.
inline constexpr int silence = 99;

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
    port = new_port();
    nodes.write("ring-ref", ring_ref);
    nodes.write("event-channel", port);
    nodes.write("state", XenbusStateInitialised);
    CHECK(nodes.reaches('4'));
  }
  void begin_again() {
    nodes.write("state", XenbusStateClosed);
    CHECK(nodes.reaches('6'));
    CHECK_EQ(flags_of(ring_ref), GTF_permit_access);
    nodes.write("state", XenbusStateInitialising);
    CHECK(nodes.reaches('2'));
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
