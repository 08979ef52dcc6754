// usage: bench_threads SECONDS
// How many entries two vCPUs validate in the time in which one validates one, each with page tables of its
// own: both in one domain, under its one lock, and in two domains. The lock is taken for each batch, as it is
// for each exit. Worth something on an idle host of two processors only: on a busy one two threads get more
// of it than one.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "world.hpp"

using namespace pinfold;
using namespace pinfold::pvmmu;
using namespace pinfold::pvmmu::bench;

namespace {

constexpr std::uint64_t mebibytes = 256;

std::unique_ptr<World> make_world() {
  auto world = std::make_unique<World>(mebibytes, Order::sequential, Log::off);
  world->fill();
  world->pin_tree();
  world->held.unlock();
  return world;
}

/// Toggles the flags of all entries in a part of the tables until told to stop; how many.
std::uint64_t work(World& world, std::uint64_t first, std::uint64_t end, std::uint64_t batch,
                   const std::atomic<bool>& stop) {
  std::uint64_t done = 0;
  for (std::uint64_t next = first; !stop; next = next + batch >= end ? first : next + batch) {
    const DomainLock lock(world.mutex());
    for (std::uint64_t i = next; i < next + batch && i < end; ++i, ++done) {
      const std::uint64_t flags = (done & 1) != 0 ? data_flags : data_flags & ~bit::accessed;
      if (!world.mmu.update(lock, world.address(i), Pte(world.data(i), flags), Preserve::nothing))
        std::abort();
    }
  }
  return done;
}

/// Entries per second of `threads` threads, on one world or each on its own.
double rate(std::unique_ptr<World> (&worlds)[2], int threads, bool apart, std::uint64_t batch,
            double seconds) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> done{0};
  std::thread running[2];
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < threads; ++i) {
    World& world = *worlds[apart ? i : 0];
    const std::uint64_t half = world.slots() / 2, first = static_cast<std::uint64_t>(i) * half;
    running[i] = std::thread([&, first, half] { done += work(world, first, first + half, batch, stop); });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop = true;
  for (int i = 0; i < threads; ++i) running[i].join();
  return static_cast<double>(done) /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int main(int count, char** words) {
  const double seconds = count == 2 ? std::atof(words[1]) : 0;
  if (seconds <= 0) {
    std::fputs("usage: bench_threads SECONDS\n", stderr);
    return 2;
  }
  std::unique_ptr<World> worlds[2] = {make_world(), make_world()};
  std::puts("entries a lock   1 thread, M/s   2 threads, one domain   2 threads, two domains");
  for (const std::uint64_t batch : {1, 16, 128}) {
    const double one = rate(worlds, 1, false, batch, seconds), same = rate(worlds, 2, false, batch, seconds),
                 apart = rate(worlds, 2, true, batch, seconds);
    std::printf("%14llu   %13.1f   %20.2f x   %21.2f x\n", static_cast<unsigned long long>(batch), one / 1e6,
                same / one, apart / one);
  }
  return 0;
}
