// usage: bench_view What it costs to make a frame read-only in a view and writable again, by both ways, with
// so many other read-only frames about. The frames are populated, as a guest's tables are; no VM runs. Prints
// a table as Markdown.
#include <chrono>
#include <cstdio>

#include "vmm/memory/view.hpp"

namespace {

using namespace pinfold;
using vmm::WriteProtection;

constexpr std::uint64_t machine_frames = 250'000, turns = 20'000;
constexpr std::uint64_t populations[] = {0, 1000, 30'000, 100'000};

/// Nanoseconds of one protect() and unprotect(), or less than 0 where the host refused.
double turn(WriteProtection how, std::uint64_t others) {
  auto machine = vmm::Machine::create(machine_frames);
  if (!machine) return -1;
  auto view = vmm::View::create(**machine, how);
  if (!view) return -1;
  (*view)->grant(Mfn(0), machine_frames);
  for (std::uint64_t i = 0; i < machine_frames; i += vmm::View::fault_around_frames)
    (*view)->fault_around(Mfn(i));
  for (std::uint64_t i = 0; i < others; ++i)
    if (!(*view)->protect(Mfn(1 + 2 * i))) return -1;
  constexpr std::uint64_t first = 2 * 100'000 + 2;
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint64_t i = 0; i < turns; ++i) {
    const Mfn frame(first + 2 * i % (machine_frames - first));
    if (!(*view)->protect(frame)) return -1;
    (*view)->unprotect(frame);
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  return took.count() / turns;
}

}  // namespace

int main() {
  std::puts("| other read-only frames | mprotect, µs | userfaultfd, µs |\n|---:|---:|---:|");
  for (const std::uint64_t others : populations) {
    std::printf("| %llu |", static_cast<unsigned long long>(others));
    for (const WriteProtection how : {WriteProtection::mprotect, WriteProtection::userfaultfd}) {
      const double ns = turn(how, others);
      if (ns < 0)
        std::printf(" refused |");
      else
        std::printf(" %.2f |", ns / 1000);
    }
    std::puts("");
  }
}
