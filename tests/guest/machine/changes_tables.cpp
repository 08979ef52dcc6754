// Changes its page tables for some seconds (`seconds=N` on the command line), and says how often: each round
// makes a table of 16 entries, pins it, maps it, unmaps it and unpins it, and maps and unmaps a page 64
// times. scripts/bench-neighbours runs two of it at once.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 pages = 16, updates = 64;
constexpr u64 elsewhere = 0xffffffffb0000000;  // the initial tables do not map it, but their L2 covers it

void change(Page* table, Page* page, u64 other_frame) {
  CHECK_EQ(make_read_only(table), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), 0);
  CHECK_EQ(set_entry(entry_address(2, elsewhere), mfn_of(table) * page_size | data), 0);
  CHECK_EQ(set_entry(entry_address(2, elsewhere), 0), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
  CHECK_EQ(make_writable(table), 0);
  const u64 own = mfn_of(page) * page_size | data, other = other_frame * page_size | data;
  for (u64 i = 0; i < updates; ++i) CHECK_EQ(map(page, i % 2 == 0 ? other : own), 0);
}

}  // namespace

void test() {
  install_traps();
  Page *table = new_page(), *page = new_page();
  const u64 other_frame = mfn_of(new_page());
  for (u64 i = 0; i < pages; ++i) table->words[i] = other_frame * page_size | data;
  constexpr u64 second = 1'000'000'000;
  const u64 begin = now_ns(), end = begin + number_behind("seconds=", 0) * second;
  u64 rounds = 0;
  do change(table, page, other_frame), ++rounds;
  while (now_ns() < end);
  say("rounds ", rounds, " in ", now_ns() - begin, " ns");
}
