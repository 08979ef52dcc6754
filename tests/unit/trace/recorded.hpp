// A small domain whose validator is watched, and its log in memory.
#pragma once

#include <memory>
#include <vector>

#include "fake_machine.hpp"
#include "trace/log_sink.hpp"
#include "trace/reader.hpp"

namespace pinfold::trace::test {

using namespace pvmmu;

/// Keeps all bytes; fails once it holds `room`.
class MemoryOutput final : public LogOutput {
 public:
  explicit MemoryOutput(std::vector<std::byte>& bytes, std::size_t room = ~std::size_t{0})
      : bytes_(bytes), room_(room) {}
  bool begin(const LogHeader& header) override { return block(encode(header)); }
  bool block(std::span<const std::byte> bytes) override {
    if (bytes_.size() + bytes.size() > room_) return false;
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return true;
  }
  [[nodiscard]] std::string failure() const override { return "no room"; }

 private:
  std::vector<std::byte>& bytes_;
  std::size_t room_;
};

using pvmmu::test::FakeDomain;
using pvmmu::test::FakeMachine;

/// A machine of 64 frames, all but two the domain's; `sink` receives every event.
struct World {
  static constexpr std::uint64_t frames = 64;
  explicit World(TraceSink& told) : sink(told), domain(machine, DomId(1), {.trace = &told}) {
    first = domain.mmu.allocate(domain.held, frames - 2).value();
  }
  [[nodiscard]] Mfn frame(std::uint64_t i) const { return first.plus(i); }

  TraceSink& sink;
  FakeMachine machine{frames};
  FakeDomain domain;
  Mfn first;
};

/// A tree of four tables in frames 0 (L4) to 3 (L1) with 8 entries; pinned, loaded; entries changed, refused
/// and stored by each way there is; the domain ended.
inline void live_a_life(World& r) {
  Validator& mmu = r.domain.mmu;
  const auto held = [&]() -> Held { return r.domain.held; };
  for (std::uint64_t level = 0; level < 3; ++level)
    r.machine.poke(r.frame(level), 0, Pte(r.frame(level + 1), pvmmu::test::table));
  for (std::uint64_t i = 0; i < 8; ++i) r.machine.poke(r.frame(3), i, Pte(r.frame(10 + i), pvmmu::test::rw));
  (void)mmu.set_machphys(held(), r.first, Pfn(0), World::frames - 2);
  (void)mmu.pin(held(), Level::l4, r.frame(0));
  Mfn root = no_mfn;
  (void)mmu.load_root(held(), root, r.frame(0));
  for (std::uint64_t i = 0; i < 600; ++i) {
    r.sink.vcpu_entered(VcpuId(static_cast<std::uint32_t>(i % 2)),
                        GuestVaddr(0xffffffff81000000 + i % 7 * 0x40), 1);
    const Pte data(r.frame(10 + i % 20), i % 3 != 0 ? pvmmu::test::rw : pvmmu::test::ro);
    (void)mmu.update(held(), entry_address(r.frame(3), i % 512), data, Preserve::nothing);
    (void)mmu.update(held(), entry_address(r.frame(3), i % 512), data, Preserve::accessed_and_dirty);
    // Writable maps of a table and of a frame without an owner are refused.
    (void)mmu.update(held(), entry_address(r.frame(3), 511), Pte(r.frame(2), pvmmu::test::rw),
                     Preserve::nothing);
    (void)mmu.update(held(), entry_address(r.frame(3), 511), Pte(Mfn(63), pvmmu::test::ro),
                     Preserve::nothing);
    (void)mmu.update_va(held(), root, GuestVaddr((i + 1) % 512 * page_size), i % 2 != 0 ? Pte() : data);
    (void)mmu.update_va(held(), root, GuestVaddr(1ULL << 40), data);
  }
  if (const auto leaf = mmu.walk(held(), root, GuestVaddr(0x3000))) {
    (void)mmu.touch(held(), *leaf, true);
    (void)mmu.update_l1_by_store(held(), *leaf, 7, Pte());
  }
  (void)mmu.hold(held(), r.frame(40), FrameType::seg_desc);
  (void)mmu.write_descriptor(held(), entry_address(r.frame(40), 3), 0x00cffb000000ffff);
  (void)mmu.write_descriptor(held(), entry_address(r.frame(40), 4), 0x0000890000000067);
  mmu.release(held(), r.frame(40));
  (void)mmu.clear_page(held(), r.frame(41));
  (void)mmu.copy_page(held(), r.frame(42), r.frame(41));
  (void)mmu.deallocate(held(), r.frame(50));
  (void)mmu.check_exchangeable(held(), r.frame(10));
  (void)mmu.allocate(held(), 100);
  (void)mmu.allocate_beyond_limit(held(), 1, 1);
  (void)mmu.update(held(), entry_address(r.frame(2), 0), Pte(), Preserve::nothing);
  mmu.stale_entries_settled(held(), r.domain.stale.end());
  mmu.hide_machphys(held(), root);
  (void)mmu.unpin(held(), r.frame(0));
  mmu.unload_root(held(), root);
  (void)mmu.destroy(held());
}

/// A whole log of that life.
[[nodiscard]] inline std::vector<std::byte> recorded_log() {
  std::vector<std::byte> log;
  LogSink sink(std::make_unique<MemoryOutput>(log), {});
  World world(sink);
  live_a_life(world);
  (void)sink.close();
  return log;
}

}  // namespace pinfold::trace::test
