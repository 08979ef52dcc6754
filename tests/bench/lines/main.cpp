// usage: bench_lines ROUNDS [shared]
// Two domains of one machine change page tables, each in a thread of its own: first one, then the other, so
// that the lines of memory that each writes can be told apart in a trace of all stores (shared_lines.py).
// Prints the address of the variable that a store of 1 and of 2 marks as the begin and the end of a domain's
// turn. With `shared` both also write one variable, which has to be found.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "neighbours/sharing.hpp"

using namespace pinfold;
using namespace pinfold::bench;

namespace {

alignas(4096) volatile std::uint64_t marker =
    0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
alignas(4096) std::atomic<std::uint64_t> shared_count{0};
alignas(4096) std::atomic<int> turn{0};

void must(const pvmmu::Verdict<>& verdict) {
  if (!verdict) std::abort();
}

/// As a guest does that maps, unmaps and makes tables, each in a hypercall of its own.
void change_tables(Side& side, std::uint64_t rounds, bool shares) {
  const Mfn table = side.spare_frame(0), data = side.spare_frame(1);
  const pvmmu::Pte entry(data, pvmmu::bench::data_flags);
  for (std::uint64_t i = 0; i < rounds; ++i) {
    for (const pvmmu::Pte& want : {entry, pvmmu::Pte()}) {
      const pvmmu::DomainLock held(side.mutex);
      side.holds.settle(held);
      must(side.mmu.update_va(held, side.root(), Side::window, want));
    }
    const pvmmu::DomainLock held(side.mutex);
    must(side.mmu.pin(held, pvmmu::Level::l1, table));
    must(side.mmu.unpin(held, table));
    if (shares) ++shared_count;
  }
}

void wait_for_turn(int wanted) {
  for (int now = turn; now < wanted; now = turn) turn.wait(now);
}

void take_turn(int number, Side& side, std::uint64_t rounds, bool shares) {
  wait_for_turn(number);
  change_tables(side, 1, false);  // A thread's first allocation enters it into a list of malloc's.
  marker = 1;
  change_tables(side, rounds, shares);
  marker = 2;
  turn = number + 1;
  turn.notify_all();
  wait_for_turn(2);  // Until then the other one can't inherit what malloc has for this thread.
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) return std::fputs("usage: bench_lines ROUNDS [shared]\n", stderr), 2;
  const std::uint64_t rounds = std::strtoull(words[1], nullptr, 10);
  const bool shares = count > 2 && std::string_view(words[2]) == "shared";
  std::printf("%p\n", static_cast<void*>(const_cast<std::uint64_t*>(&marker)));
  std::fflush(stdout);
  Sharing machine;
  // Both threads are there from the start, so that neither gets the other's stack.
  std::thread second([&] { take_turn(1, machine.owner(), rounds, shares); });
  std::thread first([&] { take_turn(0, machine.user(), rounds, shares); });
  first.join();
  second.join();
  return 0;
}
