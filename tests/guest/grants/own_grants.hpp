// Grants of a test guest to itself, by its number. A guest that has no neighbour, such as a domain 0 of Xen's
// alone, learns by them what the grant operations answer.
#pragma once

#include <xen/event_channel.h>

#include "kit/grants.hpp"

namespace kit {

inline constexpr u16 plain = GTF_permit_access, in_use = plain | GTF_reading | GTF_writing;

/// Not the guest's, nor the monitor's for its grant table.
inline u64 others_frame() { return foreign_frame() + 64; }

/// Its own number: the one for which a port is reserved if it names itself.
inline domid_t own_number() {
  static const domid_t number = [] {
    evtchn_alloc_unbound port{DOMID_SELF, DOMID_SELF, 0};
    CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &port), 0);
    evtchn_status status{};
    status.dom = DOMID_SELF;
    status.port = port.port;
    CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_status, &status), 0);
    CHECK_EQ(status.status, EVTCHNSTAT_unbound);
    return status.u.unbound.dom;
  }();
  return number;
}

inline void grant(u32 ref, u64 frame, u16 flags = plain, domid_t to = own_number()) {
  grant_to(to, ref, frame, flags);
}
inline gnttab_map_grant_ref map_grant(u32 ref, u64 where, u32 flags = GNTMAP_host_map,
                                      domid_t owner = own_number()) {
  return map_grant_of(owner, ref, where, flags);
}
inline long replace_grant(u32 handle, u64 where, u64 by) {
  gnttab_unmap_and_replace args{where, by, handle, 99};
  CHECK_EQ(grant_op(GNTTABOP_unmap_and_replace, args), 0);
  return args.status;
}
inline long swap_grants(u32 a, u32 b) {
  gnttab_swap_grant_ref args{a, b, 99};
  CHECK_EQ(grant_op(GNTTABOP_swap_grant_ref, args), 0);
  return args.status;
}

/// A copy between frames, or by grants, as the flags say.
inline gnttab_copy copy_of(u16 flags, u64 source, u64 dest, u16 length = 8, u16 from = 40, u16 to = 48,
                           domid_t dom = DOMID_SELF) {
  gnttab_copy args{};
  args.source.domid = args.dest.domid = dom;
  args.source.u.gmfn = source;
  args.dest.u.gmfn = dest;
  if ((flags & GNTCOPY_source_gref) != 0) args.source.u.ref = static_cast<u32>(source);
  if ((flags & GNTCOPY_dest_gref) != 0) args.dest.u.ref = static_cast<u32>(dest);
  args.source.offset = from;
  args.dest.offset = to;
  args.len = length;
  args.flags = flags;
  args.status = 99;
  return args;
}
inline long copy(gnttab_copy args) {
  CHECK_EQ(grant_op(GNTTABOP_copy, args), 0);
  return args.status;
}

}  // namespace kit
