// usage: make_log FILE [EVENTS]
// Writes a log for the tests of `pinfold report`: of a small domain that does a bit of everything, also what
// is refused; or, with a number, of a domain of 128 MiB whose processes come and go, about so many events
// long.
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>

#include "recorded.hpp"

namespace pinfold::trace::test {
namespace {

/// Counts what passes.
class CountingOutput final : public LogOutput {
 public:
  CountingOutput(std::unique_ptr<LogOutput> to, std::uint64_t& events)
      : to_(std::move(to)), events_(events) {}
  bool begin(const LogHeader& header) override { return to_->begin(header); }
  bool block(std::span<const std::byte> bytes) override {
    if (const auto header = decode_block_header(bytes)) events_ = header->first + header->events;
    return to_->block(bytes);
  }

 private:
  std::unique_ptr<LogOutput> to_;
  std::uint64_t& events_;
};

/// A guest of processes with seven tables each, that live for some hundred updates.
class Busy {
 public:
  explicit Busy(TraceSink& sink)
      : sink_(sink), domain_(machine_, DomId(1), {.mirrors = 4096, .trace = &sink}) {
    const Mfn first = domain_.mmu.allocate(domain_.held, frames - 16).value();
    for (std::uint64_t i = 0; i < frames - 16; ++i) free_.push_back(first.plus(i));
  }

  void process() {
    Process p;
    for (Mfn& mfn : p.tables) mfn = take();
    const auto name = [&](std::size_t in, std::uint64_t slot, std::size_t what) {
      machine_.poke(p.tables[in], slot, Pte(p.tables[what], pvmmu::test::table));
    };
    for (std::size_t i = 0; i < p.tables.size(); ++i)
      for (std::uint64_t slot = 0; slot < 512; ++slot) machine_.poke(p.tables[i], slot, Pte());
    name(0, random_() % 256, 1);
    name(1, random_() % 512, 2);
    for (std::size_t l1 = 3; l1 < p.tables.size(); ++l1) name(2, l1 * 16, l1);
    for (std::uint64_t slot = 0; slot < 300; ++slot) machine_.poke(p.tables[3], slot, data());
    enter();
    (void)domain_.mmu.pin(domain_.held, Level::l4, p.tables[0]);
    (void)domain_.mmu.load_root(domain_.held, root_, p.tables[0]);
    for (std::uint64_t i = 200 + random_() % 1200; i > 0; --i) {
      if (i % 8 == 0) enter();
      const Mfn table = p.tables[3 + random_() % 4];
      const bool bad = random_() % 4000 == 0;
      const Pte now = bad ? Pte(p.tables[1], pvmmu::test::rw) : random_() % 2 != 0 ? data() : Pte();
      (void)domain_.mmu.update(domain_.held, entry_address(table, random_() % 512), now, Preserve::nothing);
    }
    processes_.push_back(p);
    if (processes_.size() > 40 + random_() % 20) exit();
  }
  void end() { (void)domain_.mmu.destroy(domain_.held); }

 private:
  static constexpr std::uint64_t frames = 1U << 15;
  struct Process {
    std::array<Mfn, 7> tables;  ///< L4, L3, L2, four L1.
  };

  Mfn take() {
    std::swap(free_[random_() % (free_.size() / 2)], free_.front());
    const Mfn mfn = free_.front();
    free_.pop_front();
    return mfn;
  }
  /// An entry for a frame of the upper half, which never become tables.
  Pte data() {
    return Pte(Mfn(frames / 2 + random_() % (frames / 2 - 100)),
               random_() % 4 != 0 ? pvmmu::test::rw : pvmmu::test::ro);
  }
  void enter() {
    const auto vcpu = static_cast<std::uint32_t>(random_() % 4);
    sink_.vcpu_entered(VcpuId(vcpu), GuestVaddr(0xffffffff81000000 + random_() % 50 * 0x40), 1);
  }
  void exit() {
    const Process p = processes_.front();
    processes_.pop_front();
    enter();
    (void)domain_.mmu.unpin(domain_.held, p.tables[0]);
    domain_.mmu.stale_entries_settled(domain_.held, domain_.stale.end());
    for (const Mfn mfn : p.tables) free_.push_front(mfn);
  }

  TraceSink& sink_;
  FakeMachine machine_{frames};
  FakeDomain domain_;
  std::deque<Mfn> free_;
  std::deque<Process> processes_;
  Mfn root_ = no_mfn;
  std::mt19937_64 random_{1};
};

int make(const char* file, std::uint64_t events) {
  auto output = file_output(file);
  if (!output) {
    std::fprintf(stderr, "%s\n", output.error().c_str());
    return 1;
  }
  std::uint64_t written = 0;
  LogSink::Options options;
  options.vcpus = 4;
  LogSink sink(std::make_unique<CountingOutput>(std::move(*output), written), options);
  if (events == 0) {
    World world(sink);
    live_a_life(world);
  } else {
    Busy busy(sink);
    // What is on its way to the file is not counted yet; it is little.
    while (written < events) busy.process();
    busy.end();
  }
  return sink.close().lost == 0 ? 0 : 1;
}

}  // namespace
}  // namespace pinfold::trace::test

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  return pinfold::trace::test::make(argv[1], argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0);
}
