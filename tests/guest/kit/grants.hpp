// The grant table of a test guest, and mappings of what is granted to it.
#pragma once

#include <xen/grant_table.h>

#include "kit/kit.hpp"

namespace kit {

template <class Args>
long grant_op(u32 op, Args& args, u32 count = 1) {
  return hypercall(__HYPERVISOR_grant_table_op, op, &args, count);
}

/// The first frame of the guest's table.
inline grant_entry_v1* grant_table() {
  static grant_entry_v1* table = [] {
    u64 frame = 0;
    gnttab_setup_table setup{};
    setup.dom = DOMID_SELF;
    setup.nr_frames = 1;
    setup.frame_list.p = &frame;
    CHECK_EQ(grant_op(GNTTABOP_setup_table, setup), 0);
    CHECK_EQ(setup.status, GNTST_okay);
    Page* window = new_page();
    CHECK_EQ(map(window, frame * page_size | data), 0);
    return reinterpret_cast<grant_entry_v1*>(window);
  }();
  return table;
}

inline void grant_to(domid_t to, u32 ref, u64 frame, u16 flags) {
  grant_table()[ref].frame = static_cast<u32>(frame);
  grant_table()[ref].domid = to;
  __atomic_store_n(&grant_table()[ref].flags, flags, __ATOMIC_SEQ_CST);
}
inline u16 flags_of(u32 ref) { return __atomic_load_n(&grant_table()[ref].flags, __ATOMIC_SEQ_CST); }

inline gnttab_map_grant_ref map_grant_of(domid_t owner, u32 ref, u64 where, u32 flags) {
  gnttab_map_grant_ref args{};
  args.host_addr = where;
  args.flags = flags;
  args.ref = ref;
  args.dom = owner;
  args.status = 99;
  CHECK_EQ(grant_op(GNTTABOP_map_grant_ref, args), 0);
  return args;
}
inline long unmap_grant(u32 handle, u64 where, u64 bus = 0) {
  gnttab_unmap_grant_ref args{where, bus, handle, 99};
  CHECK_EQ(grant_op(GNTTABOP_unmap_grant_ref, args), 0);
  return args.status;
}

/// One of eight addresses that nothing is mapped at.
inline u64 window(u64 n) {
  constexpr u64 windows = 8;
  static const u64 first = [] {
    const u64 start = word(new_page());
    for (u64 i = 1; i < windows; ++i) CHECK_EQ(word(new_page()), start + i * page_size);
    for (u64 i = 0; i < windows; ++i) CHECK_EQ(map(start + i * page_size, 0), 0);
    return start;
  }();
  return first + n * page_size;
}

}  // namespace kit
