// Two test guests of one machine, one of which, the owner, grants frames to the other, the user. Its first
// grant is a page in which they agree on steps.
#pragma once

#include <xen/sched.h>

#include "kit/grants.hpp"
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

inline void grant(u32 ref, u64 frame, u16 flags = granted, domid_t to = other()) {
  grant_to(to, ref, frame, flags);
}
inline gnttab_map_grant_ref try_map(u32 ref, u64 where, u32 flags = GNTMAP_host_map, domid_t of = other()) {
  return map_grant_of(of, ref, where, flags);
}
/// The last window.
inline u64 mailbox_window() { return window(7); }

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
  const u64 at = mailbox_window();
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
