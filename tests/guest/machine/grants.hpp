// Two test guests of one machine, one of which, the owner, grants frames to the other, the user. Its first
// grant is a page in which they agree on steps.
#pragma once

#include <xen/grant_table.h>
#include <xen/sched.h>

#include "machine/meeting.hpp"
#include "refused/errors.hpp"

namespace kit {

inline constexpr u16 granted = GTF_permit_access, granted_for_reading = granted | GTF_readonly;
inline constexpr u32 mailbox_ref = 8, secret_ref = 9, read_only_ref = 10, table_ref = 11, second_ref = 12,
                     forged_ref = 13;
/// Read as page-table entries, neither is present: a page with them can become a table.
inline constexpr u64 secret = 0x5ec7e6, reply = 0xa115e6;

inline domid_t other() { return static_cast<domid_t>(meeting::other()); }
inline domid_t self() { return static_cast<domid_t>(meeting::self()); }

template <class Args>
long grant_op(u32 op, Args& args, u32 count = 1) {
  return hypercall(__HYPERVISOR_grant_table_op, op, &args, count);
}

// -- granting
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
inline void grant(u32 ref, u64 frame, u16 flags = granted, domid_t to = other()) {
  grant_table()[ref].frame = static_cast<u32>(frame);
  grant_table()[ref].domid = to;
  __atomic_store_n(&grant_table()[ref].flags, flags, __ATOMIC_SEQ_CST);
}
inline u16 flags_of(u32 ref) { return __atomic_load_n(&grant_table()[ref].flags, __ATOMIC_SEQ_CST); }

// -- using grants
inline gnttab_map_grant_ref try_map(u32 ref, u64 where, u32 flags = GNTMAP_host_map, domid_t of = other()) {
  gnttab_map_grant_ref args{};
  args.host_addr = where;
  args.flags = flags;
  args.ref = ref;
  args.dom = of;
  CHECK_EQ(grant_op(GNTTABOP_map_grant_ref, args), 0);
  return args;
}
inline long try_unmap(u32 handle, u64 where, u64 bus = 0) {
  gnttab_unmap_grant_ref args{where, bus, handle, 99};
  CHECK_EQ(grant_op(GNTTABOP_unmap_grant_ref, args), 0);
  return args.status;
}

/// One of eight addresses that nothing else is mapped at. The last is the mailbox's.
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

// -- agreeing on steps
struct Mailbox {
  u64 of_owner;
  u64 of_user;
  u64 frame;      ///< One of the owner's, for the user.
  u64 frames[8];  ///< More of them (kit/neighbour.hpp).
};
inline Mailbox* mailbox = nullptr;

inline void nap() {
  sched_poll args{};
  args.timeout = now_ns() + 250'000;
  (void)hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &args);
}
inline void owner_open_mailbox() {
  Page* page = new_page();
  mailbox = reinterpret_cast<Mailbox*>(page);
  grant(mailbox_ref, mfn_of(page));
}
inline void user_open_mailbox() {
  constexpr u64 patience = 90'000'000'000;
  const u64 at = window(7);
  for (const u64 end = now_ns() + patience; now_ns() < end; nap())
    if (try_map(mailbox_ref, at).status == GNTST_okay) break;
  mailbox = reinterpret_cast<Mailbox*>(at);
}
inline void tell(u64& step, u64 number) { __atomic_store_n(&step, number, __ATOMIC_SEQ_CST); }
inline void await(u64& step, u64 number) {
  constexpr u64 patience = 90'000'000'000;
  const u64 end = now_ns() + patience;
  while (__atomic_load_n(&step, __ATOMIC_SEQ_CST) < number && now_ns() < end) nap();
  CHECK(__atomic_load_n(&step, __ATOMIC_SEQ_CST) >= number);
}

}  // namespace kit
