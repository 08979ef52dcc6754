// A well-behaved guest that others must not disturb. It makes and removes tables and mappings, and checks
// that its memory keeps its contents, until its console gets input. Then it does so once more and ends.
#include <xen/io/console.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 pages = 16;
constexpr u64 elsewhere = 0xffffffffb0000000;  // the initial tables do not map it, but their L2 covers it
Page* kept[pages];

bool input() {
  const auto* ring = reinterpret_cast<const xencons_interface*>(page_of(info->console.domU.mfn));
  return __atomic_load_n(&ring->in_prod, __ATOMIC_ACQUIRE) != 0;
}

u64 pattern(u64 round, u64 page, u64 word) { return round << 32 ^ page << 16 ^ word * 0x9e3779b97f4a7c15; }

/// Checks all pages through a new table, then through the initial mapping.
void work(Page* table, u64 round) {
  for (u64 i = 0; i < pages; ++i) table->words[i] = mfn_of(kept[i]) * page_size | data;
  CHECK_EQ(make_read_only(table), 0);
  CHECK_EQ(set_entry(entry_address(2, elsewhere), mfn_of(table) * page_size | data), 0);
  auto* window = reinterpret_cast<Page*>(elsewhere);
  for (u64 i = 0; i < pages; ++i)
    for (u64 at = 0; at < 512; at += 8) window[i].words[at] = pattern(round, i, at);
  CHECK_EQ(set_entry(entry_address(2, elsewhere), 0), 0);
  CHECK_EQ(extended(MMUEXT_TLB_FLUSH_LOCAL, 0), 0);
  CHECK_EQ(make_writable(table), 0);
  bool same = true;
  for (u64 i = 0; i < pages; ++i)
    for (u64 at = 0; at < 512; at += 8) same = same && kept[i]->words[at] == pattern(round, i, at);
  CHECK(same);
}

}  // namespace

void test() {
  install_traps();
  for (Page*& page : kept) page = new_page();
  Page* table = new_page();
  say("at work");
  u64 round = 0;
  while (!input()) work(table, round++);
  for (u64 more = 0; more < 10; ++more) work(table, round++);
  say("worked on");
}
