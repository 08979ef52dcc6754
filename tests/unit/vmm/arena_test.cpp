// How much host memory an arena uses.
#include <gtest/gtest.h>

#include <sys/mman.h>

#include "vmm/memory/arena.hpp"

namespace pinfold::vmm {
namespace {

std::size_t pages_taken(const Arena& arena) {
  std::vector<unsigned char> there(arena.size() / page_size);
  EXPECT_EQ(::mincore(arena.base(), arena.size(), there.data()), 0);
  return static_cast<std::size_t>(std::ranges::count_if(there, [](unsigned char c) { return (c & 1) != 0; }));
}

void take(Arena& arena, std::size_t count, std::vector<pvmmu::MirrorId>& taken) {
  for (std::size_t i = 0; i < count; ++i) {
    taken.push_back(arena.mirrors().take().value());
    arena.mirrors().pages().clear(taken.back().raw());
  }
}

TEST(Arena, takes_host_memory_for_mirrors_in_use_and_keeps_that_of_a_few) {
  const auto arena = Arena::create(pvmmu::first_monitor_frame, 8, 100'000).value();
  EXPECT_EQ(pages_taken(*arena), 0U) << "address space alone";
  std::vector<pvmmu::MirrorId> mirrors;
  constexpr std::size_t storm = 6000;
  take(*arena, storm, mirrors);
  EXPECT_EQ(pages_taken(*arena), storm);
  for (const pvmmu::MirrorId mirror : mirrors) arena->mirrors().retire(mirror);
  for (int i = 0; i < 1000; ++i) arena->trim();
  EXPECT_EQ(pages_taken(*arena), storm) << "processors may walk them";
  arena->mirrors().reuse_retired(storm);
  arena->trim();
  EXPECT_LT(pages_taken(*arena), storm);
  EXPECT_GT(pages_taken(*arena), storm - 100) << "a little at a time";
  for (int i = 0; i < 1000; ++i) arena->trim();
  EXPECT_EQ(pages_taken(*arena), Arena::kept_free);
  // Once more: it uses no more memory than it needs.
  mirrors.clear();
  take(*arena, storm, mirrors);
  EXPECT_EQ(pages_taken(*arena), storm);
}

}  // namespace
}  // namespace pinfold::vmm
