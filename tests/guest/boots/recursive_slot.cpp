// A kernel that finds its page tables through a recursive slot alone, as NetBSD's pmap does: an entry of the
// L4 names the L4. A second slot names the L4 of the address space that it works on. It forks address spaces,
// moves to them, and ends them.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 own = 509, alternate = 508;
constexpr u64 named = present | user | accessed;  // how a table names one of its own level
constexpr u64 table = present | writable | user | accessed | dirty;
constexpr u64 low = 0x500000000000;  // where programs would be

/// The address at which the entry of `level` that translates `va` is seen, in the address space that `slot`
/// names.
u64* entry(int level, u64 va, u64 slot = own) {
  u64 at = va & 0xffffffffffff;
  for (int i = 0; i < level; ++i) {
    const u64 top = i == level - 1 ? slot : own;
    at = top << 39 | at >> 9;
  }
  return reinterpret_cast<u64*>((0xffffUL << 48 | at) & ~7UL);
}

u64 read(int level, u64 va, u64 slot = own) { return *const_cast<volatile u64*>(entry(level, va, slot)); }

/// Its machine address, by the entry one level up; the L4's, by its own.
u64 machine(int level, u64 va, u64 slot = own) {
  if (level == 4) {
    const u64 self = slot == own ? own : alternate;
    const u64 of_l4 = read(4, self << 39);
    return (of_l4 & address_bits) | (va >> 39 & 511) * 8;
  }
  return (read(level + 1, va, slot) & address_bits) | (va >> (12 + 9 * (level - 1)) & 511) * 8;
}

long change(int level, u64 va, u64 value, u64 slot = own) {
  return set_entry(machine(level, va, slot), value);
}

u64 frame(const void* page) { return mfn_of(page) * page_size; }

void protect(const Page* page) {
  CHECK_EQ(change(1, word(page), frame(page) | (data & ~writable)), 0);
  mmuext_op flush{};
  flush.cmd = MMUEXT_INVLPG_LOCAL;
  flush.arg1.linear_addr = word(page);
  CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, &flush, 1, nullptr, DOMID_SELF), 0);
}
void unprotect(const Page* page) { CHECK_EQ(change(1, word(page), frame(page) | data), 0); }

/// The tables for one page at `low`, and the page.
struct Mapping {
  Page* of[5];  // by level; 0: the page
};

Mapping make(u64 content) {
  Mapping m{};
  for (Page*& page : m.of) page = new_page();
  m.of[4] = nullptr;
  m.of[0]->words[0] = content;
  for (int level = 1; level <= 3; ++level) protect(m.of[level]);
  return m;
}

/// From the top down: each new table is seen, empty, as soon as the entry above names it.
void link(const Mapping& m, u64 slot) {
  for (int level = 4; level >= 1; --level) {
    CHECK_EQ(read(level, low, slot), 0);
    const u64 value = frame(m.of[level - 1]) | (level == 1 ? data | user : table);
    CHECK_EQ(change(level, low, value, slot), 0);
    CHECK_EQ(read(level, low, slot) & address_bits, value & address_bits);
    CHECK(read(level, low, slot) & present);
  }
}

void unlink(const Mapping& m, u64 slot) {
  for (int level = 1; level <= 4; ++level) CHECK_EQ(change(level, low, 0, slot), 0);
  for (int level = 1; level <= 3; ++level) unprotect(m.of[level]);
  m.of[1]->words[0] = 0;
}

/// All levels of an address of the kernel's, as the initial mapping has them, too.
void sees_its_tables() {
  for (const u64 va : {word(&test), word(info), word(info->pt_base)})
    for (int level = 1; level <= 4; ++level) {
      CHECK_EQ(read(level, va) & ~(accessed | dirty), entry_of(level, va) & ~(accessed | dirty));
      CHECK_EQ(machine(level, va), entry_address(level, va));
    }
  // The whole L4, but the slots that are not the guest's.
  const auto* l4 = reinterpret_cast<const Page*>(info->pt_base);
  for (u64 slot = 0; slot < 512; ++slot)
    if (slot < 256 || slot > 271)
      CHECK_EQ(read(4, slot << 39) & ~(accessed | dirty), l4->words[slot] & ~(accessed | dirty));
}

/// No exits once the windows are there: the test counts them.
void read_often() {
  u64 sum = 0;
  for (u64 i = 0; i < 50'000; ++i)
    sum += read(1 + static_cast<int>(i % 4), word(info) + i / 4 % 64 * page_size) & present;
  CHECK_EQ(sum, 50'000);
}

void faults_as_on_xen() {
  try_load(word(entry(1, low)));  // no L3, L2, L1 there
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.error, 0);
  CHECK_EQ(caught.address, word(entry(1, low)));
  try_load(word(entry(4, 0, alternate)));
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.error, 0);
  // The entry that leads to the L1 is writable, the recursive one is not.
  try_store(word(entry(1, word(info))), read(1, word(info)));
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.error, 3);
  try_store(word(entry(4, 0)), 0);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.error, 3);
}

/// A request of the hypervisor that lies in a page table.
void requests_lie_in_tables(const Mapping& m) {
  CHECK_EQ(change(1, low + page_size, 0), 0);
  CHECK_EQ(set_entry(frame(m.of[1]) + 8 * 8, MMUEXT_TLB_FLUSH_LOCAL), 0);  // an entry that is not present
  CHECK_EQ(read(1, low + 8 * page_size), MMUEXT_TLB_FLUSH_LOCAL);
  CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, entry(1, low + 8 * page_size), 1, nullptr, DOMID_SELF), 0);
  CHECK_EQ(set_entry(frame(m.of[1]) + 8 * 8, 0), 0);
}

/// Makes an address space with the kernel's mappings and a page of its own, by the alternate slot alone.
struct Space {
  Page* l4;
  Mapping low;
};

Space fork(u64 content) {
  Space space{new_page(), {}};
  space.l4->words[511] = read(4, 511UL << 39);
  space.l4->words[own] = frame(space.l4) | named;
  protect(space.l4);
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(space.l4)), 0);
  CHECK_EQ(change(4, alternate << 39, frame(space.l4) | named), 0);
  CHECK_EQ(read(4, own << 39, alternate) & address_bits, frame(space.l4));
  CHECK_EQ(read(1, word(info), alternate) & ~(accessed | dirty), read(1, word(info)) & ~(accessed | dirty));
  space.low = make(content);
  link(space.low, alternate);
  return space;
}

void end(const Space& space) {
  CHECK_EQ(change(4, alternate << 39, frame(space.l4) | named), 0);
  unlink(space.low, alternate);
  CHECK_EQ(change(4, alternate << 39, 0), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(space.l4)), 0);
  unprotect(space.l4);
  space.l4->words[own] = 0;  // a plain page again
}

void forks(const Mapping& first) {
  const u64 root = mfn_of(reinterpret_cast<void*>(info->pt_base));
  Space spaces[3];
  for (u64 i = 0; i < 3; ++i) {
    spaces[i] = fork(100 + i);
    CHECK_EQ(*reinterpret_cast<volatile u64*>(low), 42);  // the alternate slot changes nothing here
  }
  for (int round = 0; round < 3; ++round) {
    for (u64 i = 0; i < 3; ++i) {
      CHECK_EQ(extended(MMUEXT_NEW_BASEPTR, mfn_of(spaces[i].l4)), 0);
      CHECK_EQ(*reinterpret_cast<volatile u64*>(low), 100 + i);
      for (int level = 1; level <= 3; ++level)
        CHECK_EQ(read(level + 1, low) & address_bits, frame(spaces[i].low.of[level]));
      CHECK_EQ(read(1, low) & address_bits, frame(spaces[i].low.of[0]));
      try_load(word(entry(4, 0, alternate)));
      CHECK_EQ(caught.vector, 14);
    }
  }
  CHECK_EQ(extended(MMUEXT_NEW_BASEPTR, root), 0);
  CHECK_EQ(read(1, low) & address_bits, frame(first.of[0]));
  for (const Space& space : spaces) end(space);
  try_load(word(entry(4, 0, alternate)));
  CHECK_EQ(caught.vector, 14);
}

/// An L3 and an L2 that name themselves.
void lower_levels(const Mapping& m) {
  CHECK_EQ(set_entry(frame(m.of[3]) + 7 * 8, frame(m.of[3]) | named), 0);
  CHECK_EQ(set_entry(frame(m.of[2]) + 9 * 8, frame(m.of[2]) | named), 0);
  const auto seen = [](u64 s3, u64 s2, u64 s1, u64 word) {
    return *reinterpret_cast<volatile u64*>(low | s3 << 30 | s2 << 21 | s1 << 12 | word * 8) & address_bits;
  };
  CHECK_EQ(seen(0, 9, 0, 0), frame(m.of[0]));
  CHECK_EQ(seen(0, 9, 9, 0), frame(m.of[1]));
  CHECK_EQ(seen(0, 9, 9, 9), frame(m.of[2]));
  CHECK_EQ(seen(7, 0, 0, 0), frame(m.of[0]));
  CHECK_EQ(seen(7, 0, 9, 0), frame(m.of[1]));
  CHECK_EQ(seen(7, 7, 0, 0), frame(m.of[1]));
  CHECK_EQ(seen(7, 7, 7, 0), frame(m.of[2]));
  CHECK_EQ(seen(7, 7, 7, 7), frame(m.of[3]));
  // And by way of the recursive slot of the L4.
  CHECK_EQ(read(1, low | 7UL << 30) & address_bits, frame(m.of[1]));
  CHECK_EQ(read(2, low | 7UL << 30 | 7UL << 21) & address_bits, frame(m.of[3]));
  CHECK_EQ(set_entry(frame(m.of[2]) + 9 * 8, 0), 0);
  CHECK_EQ(set_entry(frame(m.of[3]) + 7 * 8, 0), 0);
}

/// As on Xen, a plain store changes an L1 entry if all that leads to the L1 is read-only but for the linear
/// entry.
void stores_through_a_read_only_entry(const Mapping& m) {
  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables), 0);
  CHECK_EQ(change(2, low, frame(m.of[1]) | (table & ~writable)), 0);
  try_store(word(entry(1, low + page_size)), frame(m.of[0]) | (data & ~writable));
  CHECK_EQ(caught.vector, Caught::none);
  CHECK_EQ(read(1, low + page_size) & address_bits, frame(m.of[0]));
  CHECK_EQ(*reinterpret_cast<volatile u64*>(low + page_size), 42);
  try_store(word(entry(1, low + page_size)), 0);
  CHECK_EQ(caught.vector, Caught::none);
  CHECK_EQ(change(2, low, frame(m.of[1]) | table), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, VMASST_CMD_disable, VMASST_TYPE_writable_pagetables), 0);
}

}  // namespace

void test() {
  install_traps();
  const u64 l4 = frame(reinterpret_cast<void*>(info->pt_base));
  CHECK_EQ(set_entry(l4 + own * 8, l4 | named), 0);
  sees_its_tables();
  read_often();
  faults_as_on_xen();
  const Mapping first = make(42);
  link(first, own);
  CHECK_EQ(*reinterpret_cast<volatile u64*>(low), 42);
  requests_lie_in_tables(first);
  lower_levels(first);
  stores_through_a_read_only_entry(first);
  forks(first);
  sees_its_tables();
  unlink(first, own);
  sees_its_tables();
  CHECK_EQ(set_entry(l4 + own * 8, 0), 0);
  try_load(word(entry(4, 0)));
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.error, 0);
}
