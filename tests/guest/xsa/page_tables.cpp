// Advisories about page-table entries, through the hypercalls of a running vCPU.
#include <xen/memory.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u64 write_through = 8, global = 0x100;
constexpr u64 table = present | user | accessed | dirty;

Page* window;

u64 frame_of(const void* page) { return mfn_of(page) * page_size; }
u64 root() { return info->pt_base; }

/// XSA-148: setting PSE in a present entry, with no other difference, and by way of an
/// entry that is not present.
void superpages() {
  for (int level = 2; level <= 4; ++level) {
    const u64 address = entry_address(level, word(window));
    const u64 now = entry_of(level, word(window));
    for (u64 extra : {0UL, writable, dirty, global})
      CHECK_EQ(set_entry(address, now | large | extra), einval);
    CHECK_EQ(set_entry(address, now | large, MMU_PT_UPDATE_PRESERVE_AD), einval);
    CHECK_EQ(entry_of(level, word(window)), now);
  }
  const u64 empty = entry_address(2, 0xffffffffbfe00000);
  CHECK_EQ(set_entry(empty, (frame_of(window) | table | large) & ~present), 0);
  CHECK_EQ(set_entry(empty, frame_of(window) | table | large), einval);
  CHECK_EQ(set_entry(empty, 0), 0);
}

/// XSA-154, 402: no memory type but write-back.
void memory_types() {
  for (u64 type = 1; type < 8; ++type) {
    const u64 flags =
        (type & 1 ? write_through : 0) | (type & 2 ? cache_disable : 0) | (type & 4 ? large : 0);
    for (u64 access : {data, data & ~writable}) {
      CHECK_EQ(map(window, frame_of(window) | access | flags), einval);
      CHECK_EQ(set_entry(entry_address(1, word(window)), frame_of(window) | access | flags), einval);
    }
  }
}

/// XSA-182, 240: a root with an entry for itself or another root. It may be read-only, and never becomes
/// writable; and a root that another one names can name none but itself.
void linear_tables() {
  Page* other = new_page();
  other->words[511] = reinterpret_cast<Page*>(root())->words[511];
  CHECK_EQ(make_read_only(other), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(other)), 0);
  const u64 l4 = mfn_of(reinterpret_cast<void*>(root())) * page_size;
  for (u64 named : {l4, frame_of(other)}) {
    CHECK_EQ(set_entry(l4 + 300 * 8, named | table | writable), einval);
    CHECK_EQ(set_entry(l4 + 300 * 8, named | table), 0);
    for (u64 flags : {table | writable, table | writable | 1UL << 63, table | writable | 0x200}) {
      CHECK_EQ(set_entry(l4 + 300 * 8, named | flags), einval);
      CHECK_EQ(set_entry(l4 + 300 * 8, named | flags, MMU_PT_UPDATE_PRESERVE_AD), einval);
    }
    CHECK_EQ(set_entry(l4 + 300 * 8, named | table | 0x200), 0);
    CHECK_EQ(set_entry(l4 + 300 * 8, (named | table | writable) & ~present), 0);
    CHECK_EQ(set_entry(l4 + 300 * 8, named | table | writable), einval);
  }
  CHECK_EQ(set_entry(l4 + 300 * 8, frame_of(other) | table), 0);
  CHECK_EQ(set_entry(frame_of(other) + 300 * 8, l4 | table), einval);
  CHECK_EQ(set_entry(frame_of(other) + 300 * 8, frame_of(other) | table), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(other)), 0);
  CHECK(make_writable(other) != 0);  // still named as a table
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(other)), 0);
  CHECK_EQ(set_entry(l4 + 300 * 8, 0), 0);
  CHECK_EQ(set_entry(frame_of(other) + 300 * 8, l4 | table), 0);
  CHECK_EQ(set_entry(l4 + 300 * 8, frame_of(other) | table), einval);
  CHECK_EQ(set_entry(l4 + 300 * 8, l4 | table), 0);
  CHECK_EQ(set_entry(l4 + 300 * 8, 0), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(other)), 0);
  CHECK_EQ(make_writable(other), 0);
}

/// XSA-273: an entry that is not present may have any address, and gives no access.
void not_present_entries() {
  for (u64 value : {0xffffffffff000UL, 0x1000UL, frame_of(window), 0x000ffffffffffffeUL}) {
    CHECK_EQ(map(window, value & ~present), 0);
    try_load(word(window));
    CHECK_EQ(caught.vector, 14);
    CHECK_EQ(entry_of(1, word(window)), value & ~present);
  }
  CHECK_EQ(make_writable(window), 0);
}

/// XSA-279: flushes of addresses that can't be mapped, of each kind.
void flushes_of_strange_addresses() {
  for (u64 va : {0x0000800000000000UL, 0x8000000000000000UL, 0xffff800000000000UL, 0xffff87fffffff000UL,
                 0x00007f1234567000UL}) {
    for (u64 flags :
         {UVMF_NONE, UVMF_TLB_FLUSH, UVMF_INVLPG, UVMF_INVLPG | UVMF_ALL, UVMF_TLB_FLUSH | UVMF_ALL})
      CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, va, frame_of(window) | data, flags), einval);
    mmuext_op flush{};
    flush.arg1.linear_addr = va;
    for (u32 command : {MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_ALL}) {
      flush.cmd = command;
      CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, &flush, 1, nullptr, DOMID_SELF), 0);
    }
  }
}

/// XSA-58: a root whose last entry is bad is pinned again and again.
void pins_that_fail_late() {
  Page* last = new_page();
  last->words[511] = frame_of(window) | table;  // data, mapped writable
  CHECK_EQ(make_read_only(last), 0);
  for (int i = 0; i < 50; ++i) {
    CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(last)), einval);
    CHECK_EQ(extended(MMUEXT_PIN_L2_TABLE, mfn_of(last)), einval);
  }
  CHECK_EQ(make_writable(last), 0);
  last->words[511] = 0;
}

/// XSA-109: tables and frames of another domain.
void other_domains() {
  mmu_update_t request{entry_address(1, word(window)), frame_of(window) | data};
  for (u64 domain : {0UL, 1UL, 77UL, 0x7fefUL, u64{DOMID_COW}, u64{DOMID_INVALID}})
    CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 1, nullptr, domain), esrch);
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 1, nullptr, 78UL << 16 | DOMID_SELF), esrch);
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 1, nullptr, (DOMID_SELF + 1UL) << 16 | DOMID_SELF),
           esrch);
}

/// XSA-113, 251: changes of the machine-to-phys table take no references and decide nothing.
void machphys() {
  Page* page = new_page();
  for (int i = 0; i < 200; ++i)
    for (u64 value : {~0UL, 0x5555555555555555UL, 0UL})
      CHECK_EQ(set_entry(frame_of(page), value, MMU_MACHPHYS_UPDATE), 0);
  const u64 mfn = mfn_of(page);
  CHECK_EQ(map(page, 0), 0);
  xen_memory_reservation give{};
  u64 list = mfn;
  give.extent_start.p = &list;
  give.nr_extents = 1;
  give.domid = DOMID_SELF;
  CHECK_EQ(hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &give), 1);
  CHECK_EQ(set_entry(mfn * page_size, 1, MMU_MACHPHYS_UPDATE), einval);  // gone with its only reference
}

/// XSA-64, 254: in the hypervisor's slots the guest can write nothing, and read nothing but the
/// machine-to-phys table and the one page of code at which a system call may arrive.
void hypervisor_slots() {
  xen_machphys_mapping m2p{};
  CHECK_EQ(hypercall(__HYPERVISOR_memory_op, XENMEM_machphys_mapping, &m2p), 0);
  long readable = 0;
  for (u64 slot = 256; slot < 272; ++slot)
    for (u64 offset : {0UL, 0x1000UL, 0x200000UL, 0x3ffff000UL, 0x40000000UL, 0x7ffffff000UL}) {
      const u64 address = 0xffff000000000000 | slot << 39 | offset;
      try_store(address, 1);
      CHECK_EQ(caught.vector, 14);
      if (address >= m2p.v_start && address < m2p.v_end) continue;
      try_load(address);
      if (caught.vector == Caught::none) ++readable;
    }
  CHECK(readable <= 1);
  CHECK_EQ(reinterpret_cast<u64*>(m2p.v_start)[mfn_of(window)],
           (word(window) - 0xffffffff80000000) / page_size);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  window = new_page();
  window->words[0] = 42;
  superpages();
  if (!is_dom0()) memory_types();
  linear_tables();
  not_present_entries();
  flushes_of_strange_addresses();
  pins_that_fail_late();
  if (!is_dom0()) other_domains();
  machphys();
  hypervisor_slots();
  CHECK_EQ(window->words[0], 42);
}
