// What a guest can try with a frame of its neighbour's, other than to map it by a grant.
#pragma once

#include <xen/memory.h>
#include <xen/vcpu.h>

#include "machine/grants.hpp"

namespace kit {

/// In every way but by a grant, whether it is mapped by one or not.
inline void refused_in_every_other_way(u64 frame) {
  static Page* const page = new_page();
  const u64 entry = frame * page_size | data;
  CHECK_EQ(map(page, entry), ebusy);
  CHECK_EQ(map(page, entry & ~writable), ebusy);
  CHECK_EQ(set_entry(entry_address(1, word(page)), entry), ebusy);
  CHECK_EQ(set_entry(entry_address(2, 0xffffffffbff00000 & ~0x1fffffUL), frame * page_size | present | user),
           einval);
  CHECK_EQ(set_entry(entry_address(4, 0x1000), frame * page_size | present | user), einval);
  for (u32 command : {MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE,
                      MMUEXT_UNPIN_TABLE, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MMUEXT_CLEAR_PAGE})
    CHECK_EQ(extended(command, frame), einval);
  mmuext_op copy{};
  copy.cmd = MMUEXT_COPY_PAGE;
  copy.arg1.mfn = mfn_of(page);
  copy.arg2.src_mfn = frame;
  CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, &copy, 1, nullptr, DOMID_SELF), einval);
  CHECK_EQ(set_entry(frame * page_size, 0), einval);
  CHECK_EQ(set_entry(frame * page_size, 5, MMU_MACHPHYS_UPDATE), einval);
  mmu_update_t request{entry_address(1, word(page)), entry};
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 1, nullptr, other()), esrch);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, &frame, 16), einval);
  CHECK_EQ(hypercall(__HYPERVISOR_update_descriptor, frame * page_size, 0), einval);
  vcpu_register_vcpu_info area{frame, 0, 0};
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, &area), einval);
  // In a page that is to become a table.
  page->words[3] = entry;
  CHECK_EQ(make_read_only(page), 0);
  CHECK(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)) < 0);
  CHECK_EQ(make_writable(page), 0);
  page->words[3] = 0;
}

template <class Args>
long memory_op(u32 command, Args& args) {
  return hypercall(__HYPERVISOR_memory_op, command, &args);
}

inline void neither_given_back_nor_exchanged(u64 frame) {
  xen_memory_reservation given{};
  given.extent_start.p = &frame;
  given.nr_extents = 1;
  given.domid = DOMID_SELF;
  CHECK_EQ(memory_op(XENMEM_decrease_reservation, given), 0);
  u64 out = 5;
  xen_memory_exchange exchange{};
  exchange.in = given;
  exchange.out = given;
  exchange.out.extent_start.p = &out;
  CHECK(memory_op(XENMEM_exchange, exchange) < 0);
  CHECK_EQ(exchange.nr_exchanged, 0);
}

/// Its neighbour's frame in an entry of its own table.
inline void not_granted_onward(u64 frame) {
  grant(forged_ref, frame, granted, self());
  CHECK_EQ(try_map(forged_ref, window(5), GNTMAP_host_map, self()).status, GNTST_bad_page);
  gnttab_copy args{};
  args.source.domid = args.dest.domid = DOMID_SELF;
  args.source.u.gmfn = frame;
  static Page* const page = new_page();
  args.dest.u.gmfn = mfn_of(page);
  args.len = 8;
  CHECK_EQ(grant_op(GNTTABOP_copy, args), 0);
  CHECK_EQ(args.status, GNTST_bad_page);
  args.dest.u.gmfn = frame;
  args.source.u.gmfn = mfn_of(page);
  CHECK_EQ(grant_op(GNTTABOP_copy, args), 0);
  CHECK_EQ(args.status, GNTST_bad_page);
}

/// Neither to its owner nor to the guest itself, which would accept it.
inline void not_transferred(u64 frame) {
  grant(forged_ref, 0, GTF_accept_transfer, self());
  for (const domid_t to : {self(), other()}) {
    gnttab_transfer args{frame, to, forged_ref, 99};
    CHECK_EQ(grant_op(GNTTABOP_transfer, args), 0);
    CHECK_EQ(args.status, GNTST_bad_page);
  }
  CHECK_EQ(flags_of(forged_ref), GTF_accept_transfer);
  grant(forged_ref, 0, 0);
}

inline void attacks(u64 frame) {
  refused_in_every_other_way(frame);
  neither_given_back_nor_exchanged(frame);
  not_granted_onward(frame);
  not_transferred(frame);
}

}  // namespace kit
