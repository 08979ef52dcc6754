// Each argument of the page-table hypercalls is wrong, one at a time: they return Xen's error and change
// nothing, and the guest goes on.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr long eacces = -13;
constexpr u64 hole = 0x7654321000, not_canonical = 0x0000800000000000, xen_range = 0xffff804000000000;
constexpr u64 bad_pointers[] = {hole,
                                not_canonical,
                                0x8000000000000000,
                                xen_range,
                                0xffff800000000000,
                                0xffff87fffffffff8,
                                0xfffffffffffffff9};
constexpr u64 bad_frames[] = {0,         1UL << 20,       1UL << 28, (1UL << 40) - 2, (1UL << 40) - 1,
                              1UL << 40, (1UL << 52) - 1, 1UL << 52, 1UL << 63,       ~0UL - 1,
                              ~0UL};

Page* page;
Page* sentinel;

u64 frame_of(const void* p) { return mfn_of(p) * page_size; }
long update(const void* list, u64 count, u32* done = nullptr, u64 foreign = DOMID_SELF) {
  return hypercall(__HYPERVISOR_mmu_update, list, count, done, foreign);
}
long extend(const void* list, u64 count, u32* done = nullptr, u64 foreign = DOMID_SELF) {
  return hypercall(__HYPERVISOR_mmuext_op, list, count, done, foreign);
}

void frame_numbers() {
  for (u64 frame : bad_frames) {
    // Only bits 12 to 51 of an entry are a frame number; the others are flags.
    const u64 entry = frame << 12 & address_bits;
    if (!is_dom0()) {  // a control domain may map I/O memory
      CHECK(set_entry(entry_address(1, word(page)), entry | data) < 0);
      CHECK(map(page, entry | data) < 0);
      CHECK(map(page, entry | (data & ~writable)) < 0);
    }
    for (int level = 2; level <= 4; ++level)
      CHECK_EQ(set_entry(entry_address(level, word(page)), entry | present | user | accessed), einval);
    if (frame < 1UL << 52) {
      for (u64 command :
           {u64{MMU_NORMAL_PT_UPDATE}, u64{MMU_MACHPHYS_UPDATE}, u64{MMU_PT_UPDATE_PRESERVE_AD}})
        CHECK_EQ(set_entry(frame << 12, 0, command), einval);
    }
    for (u32 command : {MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE,
                        MMUEXT_UNPIN_TABLE, MMUEXT_NEW_BASEPTR, MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE})
      CHECK_EQ(extended(command, frame), einval);
    if (frame != 0) CHECK_EQ(extended(MMUEXT_NEW_USER_BASEPTR, frame), einval);
    mmuext_op copy{};
    copy.cmd = MMUEXT_COPY_PAGE;
    copy.arg1.mfn = mfn_of(page);
    copy.arg2.src_mfn = frame;
    CHECK_EQ(extend(&copy, 1), einval);
  }
  CHECK_EQ(sentinel->words[0], 99);
}

void every_bit_of_an_entry() {
  // One bit at a time is changed in a good entry. If it is refused, the old entry stays;
  // if not, it is restored.
  for (int level = 1; level <= 4; ++level) {
    const u64 address = entry_address(level, word(page));
    const u64 good = entry_of(level, word(page));
    for (u64 bit = 1; bit < 64; ++bit) {
      const u64 now = entry_of(level, word(page));
      // Above L1 without what would unmap this code: NX, no RW, and an empty frame as the table.
      if (level > 1 && (bit == 63 || bit == 1 || (bit >= 12 && bit < 52))) continue;
      if (set_entry(address, good ^ 1UL << bit) != 0)
        CHECK_EQ(entry_of(level, word(page)) & ~(accessed | dirty), now & ~(accessed | dirty));
      CHECK_EQ(set_entry(address, good), 0);
    }
  }
  extended(MMUEXT_TLB_FLUSH_LOCAL, 0);
  page->words[1] = 5;
  CHECK_EQ(page->words[1], 5);
}

void commands() {
  for (u64 command = 4; command < 8; ++command)
    CHECK_EQ(set_entry(entry_address(1, word(page)), 0, command), enosys);
  for (u32 command : {14U, 21U, 22U, 1000U, 0x80000000U, 0xffffffffU}) CHECK_EQ(extended(command, 0), enosys);
  CHECK_EQ(extended(MMUEXT_MARK_SUPER, ~0UL), eopnotsupp);
  CHECK_EQ(extended(MMUEXT_UNMARK_SUPER, ~0UL), eopnotsupp);
  if (is_dom0()) return;
  CHECK_EQ(extended(MMUEXT_FLUSH_CACHE, 0), eacces);
  CHECK_EQ(extended(MMUEXT_FLUSH_CACHE_GLOBAL, 0), eacces);
}

void lists_and_counts() {
  for (u64 bad : bad_pointers) {
    for (u64 count : {1UL, 1000UL, 0x7fffffffUL}) {
      CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, bad, count, nullptr, DOMID_SELF), efault);
      CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, bad, count, nullptr, DOMID_SELF), efault);
    }
    // The address of a list is checked even if the list is empty.
    const long nothing = bad == hole || bad > 0xffff880000000000 ? 0 : efault;
    CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, bad, 0, nullptr, DOMID_SELF), nothing);
    CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, bad, 0, nullptr, DOMID_SELF), nothing);
    // Only 32 bits of a count are used.
    CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, bad, 1UL << 32, nullptr, DOMID_SELF), nothing);
    CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, bad, ~0UL << 32 | 1, nullptr, DOMID_SELF), efault);
    CHECK_EQ(hypercall(__HYPERVISOR_multicall, bad, 1UL << 32), nothing);
    CHECK_EQ(hypercall(__HYPERVISOR_multicall, bad, 0xffffffffUL), efault);
  }
  // A count with a forged bit that marks restarted calls.
  mmu_update_t request{frame_of(page) + 16, 7};
  u32 done = 41;
  CHECK_EQ(update(&request, 0x80000000UL | 1, &done), 0);
  CHECK_EQ(done, 42);
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 0x80000000UL | 1, hole, DOMID_SELF), 0);
  CHECK_EQ(update(&request, 0x80000000UL, &done), 0);
  // A list that is not aligned, and one that crosses into another page.
  Page* pair = new_page();
  new_page();
  for (u64 offset : {page_size - 1, page_size - 8, page_size - 12, 3UL}) {
    auto* odd = reinterpret_cast<mmu_update_t*>(word(pair) + offset);
    *odd = {frame_of(page) + 24, offset};
    CHECK_EQ(update(odd, 1), 0);
    CHECK_EQ(page->words[3], offset);
  }
  // The second of three is bad: one is completed.
  mmu_update_t three[3] = {{frame_of(page) + 32, 1}, {~0UL << 12, 2}, {frame_of(page) + 32, 3}};
  CHECK_EQ(update(three, 3, &done), einval);
  CHECK_EQ(done, 1);
  CHECK_EQ(page->words[4], 1);
}

void domains() {
  mmu_update_t request{entry_address(1, word(page)), frame_of(page) | data};
  mmuext_op flush{};
  flush.cmd = MMUEXT_TLB_FLUSH_LOCAL;
  for (u64 domain : {77UL, 0x7fefUL, u64{DOMID_COW}, u64{DOMID_INVALID}, 0xffffUL}) {
    CHECK_EQ(update(&request, 1, nullptr, domain), esrch);
    CHECK_EQ(extend(&flush, 1, nullptr, domain), esrch);
    CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping_otherdomain, page, frame_of(page) | data, 0, domain),
             esrch);
    if (domain < 0x7ff0) CHECK_EQ(update(&request, 1, nullptr, (domain + 1) << 16 | DOMID_SELF), esrch);
  }
  CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping_otherdomain, page, frame_of(page) | data, UVMF_INVLPG,
                     DOMID_SELF),
           0);
  for (u64 domain : {u64{DOMID_IO}, u64{DOMID_XEN}}) CHECK_EQ(extend(&flush, 1, nullptr, domain), eperm);
  mmu_update_t upper{entry_address(2, word(page)), entry_of(2, word(page))};
  CHECK_EQ(update(&upper, 1, nullptr, DOMID_IO), einval);
  mmu_update_t plain{frame_of(page) + 40, 3};
  CHECK_EQ(update(&plain, 1, nullptr, DOMID_IO), 0);
  CHECK_EQ(page->words[5], 3);
  if (is_dom0()) return;
  // Frames of DOMID_IO: I/O memory, which the guest does not have. So only entries that are
  // not present are accepted.
  CHECK_EQ(update(&request, 1, nullptr, DOMID_XEN), eperm);
  CHECK_EQ(update(&request, 1, nullptr, DOMID_IO), eperm);
  CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping_otherdomain, page, frame_of(page) | data, 0, DOMID_IO),
           eperm);
  request.ptr |= MMU_MACHPHYS_UPDATE;
  CHECK_EQ(update(&request, 1, nullptr, DOMID_IO), einval);
}

void addresses() {
  for (u64 va :
       {hole, not_canonical, 0x8000000000000000UL, xen_range, 0xffff800000000000UL, 0xffff87fffffff000UL})
    for (u64 flags : {0UL, 1UL, 2UL, 3UL, 5UL, 6UL, 7UL})
      CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, va, frame_of(page) | data, flags), einval);
  // Any address in the page names the page.
  CHECK_EQ(map(word(page) + 0xfff, frame_of(page) | data), 0);
  // Masks of processors to flush that can't be read. The change is made nevertheless.
  for (u64 bad : bad_pointers) {
    const u64 flags = (bad & ~7UL) | UVMF_INVLPG;
    for (u64 wanted : {data & ~writable, data}) {
      CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, page, frame_of(page) | wanted, flags), efault);
      CHECK_EQ(entry_of(1, word(page)) & writable, wanted & writable);
    }
    CHECK_EQ(page->words[4], 1);
    mmuext_op flush{};
    flush.arg2.vcpumask.p = reinterpret_cast<void*>(bad);
    for (u32 command : {MMUEXT_TLB_FLUSH_MULTI, MMUEXT_INVLPG_MULTI}) {
      flush.cmd = command;
      CHECK_EQ(extend(&flush, 1), einval);
    }
    flush.arg1.linear_addr = bad;
    for (u32 command :
         {MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_ALL, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_TLB_FLUSH_ALL}) {
      flush.cmd = command;
      CHECK_EQ(extend(&flush, 1), 0);
    }
  }
}

void whole_pages() {
  for (int level = 1; level <= 4; ++level) {
    Page* table = table_of(level, word(page));
    const u64 before = table->words[slot_of(level, word(page))];
    mmuext_op op{};
    op.cmd = MMUEXT_CLEAR_PAGE;
    op.arg1.mfn = mfn_of(table);
    CHECK_EQ(extend(&op, 1), einval);
    op.cmd = MMUEXT_COPY_PAGE;
    op.arg2.src_mfn = mfn_of(page);
    CHECK_EQ(extend(&op, 1), einval);
    CHECK_EQ(table->words[slot_of(level, word(page))], before);
    // Copying from a table is allowed, because the guest can read it.
    op.arg1.mfn = mfn_of(page);
    op.arg2.src_mfn = mfn_of(table);
    CHECK_EQ(extend(&op, 1), 0);
  }
  CHECK_EQ(extended(MMUEXT_CLEAR_PAGE, mfn_of(page)), 0);
  for (u64 w : page->words)
    if (w != 0) return CHECK_EQ(w, 0);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  page = new_page();
  sentinel = new_page();
  sentinel->words[0] = 99;
  frame_numbers();
  every_bit_of_an_entry();
  commands();
  lists_and_counts();
  domains();
  addresses();
  whole_pages();
}
