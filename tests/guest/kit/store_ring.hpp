// The xenstore ring of a test guest: one request and its reply (xen/io/xs_wire.h).
#pragma once

#include <xen/event_channel.h>
#include <xen/io/xs_wire.h>

#include "kit/kit.hpp"

namespace kit::store {

inline Page* page() { return page_of(info->store_mfn); }
inline xenstore_domain_interface* ring() { return reinterpret_cast<xenstore_domain_interface*>(page()); }

/// Puts a request to read "name" into the ring. Read as page-table entries, its words are not present.
inline void ask() {
  struct Message {
    xsd_sockmsg header;
    char path[8];
  } message{{XS_READ, 0, 0, 8}, "name\0\0"};
  const auto* bytes = reinterpret_cast<const char*>(&message);
  u32 produced = ring()->req_prod;
  for (u64 i = 0; i < sizeof message; ++i) ring()->req[MASK_XENSTORE_IDX(produced++)] = bytes[i];
  __atomic_store_n(&ring()->req_prod, produced, __ATOMIC_SEQ_CST);
}
inline long notify() {
  evtchn_send send{info->store_evtchn};
  return hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send);
}
/// Takes the replies, and returns their number of bytes.
inline u32 take() {
  const u32 produced = __atomic_load_n(&ring()->rsp_prod, __ATOMIC_SEQ_CST);
  const u32 count = produced - ring()->rsp_cons;
  ring()->rsp_cons = produced;
  return count;
}

}  // namespace kit::store
