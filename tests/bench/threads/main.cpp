// usage: bench_threads SECONDS How many entries two vCPUs validate in the time in which one vCPU validates
// one. Each has page tables of its own. The two are in one domain and hold its lock alone in turn, or in one
// domain and share its lock, or in two domains. The lock is taken for each batch, as it is for each exit. The
// result is only meaningful on an idle host of two processors: on a busy one two threads get more of it than
// one.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <thread>

#include "world.hpp"

using namespace pinfold;
using namespace pinfold::pvmmu;
using namespace pinfold::pvmmu::bench;

namespace {

constexpr std::uint64_t mebibytes = 256;
constexpr std::uint64_t most_in_a_batch = 128;

std::unique_ptr<World> make_world() {
  auto world = std::make_unique<World>(mebibytes, Order::sequential, Log::off);
  world->fill();
  world->pin_tree();
  world->held.unlock();
  return world;
}

enum class Way : std::uint8_t { alone, together };

struct Part {
  std::uint64_t first, end;  ///< Numbers of slots.
};

/// Gives each slot of a part another frame, in batches, until told to stop. Returns the number of updates.
std::uint64_t work(World& world, Way way, Part part, std::uint64_t batch, const std::atomic<bool>& stop) {
  DomainSharer sharer(world.mutex());
  MmuCounters counters;
  std::uint64_t done = 0, round = 1;
  for (std::uint64_t next = part.first; !stop;) {
    const std::uint64_t behind = std::min(next + batch, part.end);
    const auto wanted = [&](std::uint64_t i) {
      return Pte(world.data(i + round * world.slots()), data_flags);
    };
    if (way == Way::alone) {
      const DomainLock lock(world.mutex());
      for (std::uint64_t i = next; i < behind; ++i)
        if (!world.mmu.update(lock, world.address(i), wanted(i), Preserve::nothing)) std::abort();
    } else {
      std::array<EntryUpdate, most_in_a_batch> updates;
      for (std::uint64_t i = next; i < behind; ++i) updates[i - next] = {world.address(i), wanted(i)};
      const DomainShare share(sharer);
      const auto asked = std::span(updates).first(behind - next);
      if (world.mmu.update_concurrently(share, counters, asked) != asked.size()) std::abort();
    }
    done += behind - next;
    next = behind;
    if (next == part.end) next = part.first, round ^= 1;
  }
  return done;
}

/// Entries per second of `threads` threads, on one world or each on its own, for a while.
double rate_once(std::unique_ptr<World> (&worlds)[2], int threads, bool apart, Way way, std::uint64_t batch,
                 double seconds) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> done{0};
  std::thread running[2];
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < threads; ++i) {
    World& world = *worlds[apart ? i : 0];
    const std::uint64_t half = world.slots() / 2, first = static_cast<std::uint64_t>(i) * half;
    running[i] =
        std::thread([&, part = Part{first, first + half}] { done += work(world, way, part, batch, stop); });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop = true;
  for (int i = 0; i < threads; ++i) running[i].join();
  return static_cast<double>(done) /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The best of many short runs: the one that other work disturbed least.
double rate(std::unique_ptr<World> (&worlds)[2], int threads, bool apart, Way way, std::uint64_t batch,
            double seconds) {
  constexpr int runs = 20;
  double best = 0;
  for (int i = 0; i < runs; ++i)
    best = std::max(best, rate_once(worlds, threads, apart, way, batch, seconds / runs));
  return best;
}

}  // namespace

int main(int count, char** words) {
  const double seconds = count == 2 ? std::atof(words[1]) : 0;
  if (seconds <= 0) {
    std::fputs("usage: bench_threads SECONDS\n", stderr);
    return 2;
  }
  std::unique_ptr<World> worlds[2] = {make_world(), make_world()};
  std::puts("            one thread, M/s       two threads, times one thread that has the domain for itself");
  std::puts("entries     alone  together       in turn    together    two domains");
  for (const std::uint64_t batch : {std::uint64_t{1}, std::uint64_t{8}, std::uint64_t{32}, most_in_a_batch}) {
    const double one = rate(worlds, 1, false, Way::alone, batch, seconds),
                 sharing = rate(worlds, 1, false, Way::together, batch, seconds),
                 turns = rate(worlds, 2, false, Way::alone, batch, seconds),
                 together = rate(worlds, 2, false, Way::together, batch, seconds),
                 apart = rate(worlds, 2, true, Way::alone, batch, seconds);
    std::printf("%7llu   %7.1f   %7.1f   %9.2f x   %7.2f x   %9.2f x\n",
                static_cast<unsigned long long>(batch), one / 1e6, sharing / 1e6, turns / one, together / one,
                apart / one);
  }
  return 0;
}
