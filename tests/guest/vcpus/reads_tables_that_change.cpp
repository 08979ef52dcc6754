// XSA-286: one vCPU reads page tables through a recursive slot, while the other one replaces them. Once a
// request that changes an entry of an L2, L3 or L4 has returned, the first vCPU reads the new tables there,
// and never again the old ones, which are plain pages by then. Nobody asks for a flush.
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u64 rounds = 600, own = 509, marked = 8;
constexpr u64 table = present | writable | user | accessed | dirty;
constexpr u64 low = 0x500000000000;
/// Where the recursive slot shows the L1 of `low`, and the L2's entry that names it.
constexpr u64 l1_seen = 0xffffUL << 48 | own << 39 | low >> 9,
              l2_seen = 0xffffUL << 48 | own << 39 | own << 30 | low >> 18;

u64 marker = 0, l1 = 0, reads = 0;

void second() {
  for (;;) {
    __atomic_store_n(&marker, reinterpret_cast<volatile u64*>(l1_seen)[marked], __ATOMIC_SEQ_CST);
    __atomic_store_n(&l1, *reinterpret_cast<volatile u64*>(l2_seen) & address_bits, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&reads, 1, __ATOMIC_SEQ_CST);
  }
}

u64 frame(const void* page) { return mfn_of(page) * page_size; }

/// The tables of `low`, by level, and as many that are plain pages.
Page *now[4], *spare[4];

/// Tables of the levels below `level`, which are to be named by its entry. The L1 has no entry but a number,
/// in one that is not present.
void make_below(u64 level, u64 number) {
  spare[1]->words[marked] = number;
  for (u64 i = 2; i < level; ++i) spare[i]->words[0] = frame(spare[i - 1]) | table;
  for (u64 i = 1; i < level; ++i) CHECK_EQ(make_read_only(spare[i]), 0);
}

/// The tables of these levels are plain pages again, with other contents.
void end_spare(u64 level) {
  for (u64 i = 1; i < level; ++i) {
    CHECK_EQ(make_writable(spare[i]), 0);
    spare[i]->words[0] = 0;
  }
  spare[1]->words[marked] = 0x7777'0000;
}

u64 entry_naming(u64 level) {
  return level == 4 ? frame(reinterpret_cast<void*>(info->pt_base)) + (low >> 39 & 511) * 8
                    : frame(now[level]);
}

void replace_below(u64 level, u64 number) {
  make_below(level, number);
  CHECK_EQ(set_entry(entry_naming(level), frame(spare[level - 1]) | table), 0);
  for (u64 i = 1; i < level; ++i) {
    Page* const old = now[i];
    now[i] = spare[i];
    spare[i] = old;
  }
}

}  // namespace

void test() {
  const u64 l4 = frame(reinterpret_cast<void*>(info->pt_base));
  for (u64 i = 1; i < 4; ++i) now[i] = new_page(), spare[i] = new_page();
  CHECK_EQ(set_entry(l4 + own * 8, l4 | present | user | accessed), 0);
  replace_below(4, 2);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  CHECK(goes_on(reads, 2));

  u64 stale = 0;
  for (u64 round = 2; round < rounds; ++round) {
    const u64 level = 2 + round % 3;
    replace_below(level, 2 * round);
    end_spare(level);  // at once: a stale translation would show these words
    CHECK(goes_on(reads, 2));
    stale += __atomic_load_n(&marker, __ATOMIC_SEQ_CST) != 2 * round;
    stale += __atomic_load_n(&l1, __ATOMIC_SEQ_CST) != frame(now[1]);
  }
  CHECK_EQ(stale, 0);
}
