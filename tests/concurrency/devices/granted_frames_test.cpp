// A disk's thread that uses granted frames, while the guest revokes and changes the grants, makes tables of
// the frames, and gives them back. What must hold: a transfer never writes a frame that is a table or another
// domain's, and afterwards nothing is held or marked.
#include <gtest/gtest.h>

#include <random>

#include "block_fakes.hpp"
#include "devices/block/request_queue.hpp"
#include "granting_guest.hpp"
#include "rig.hpp"
#include "vmm/memory/frame_holds.hpp"

namespace pinfold::devices::block {
namespace {

using pvmmu::Held;
using pvmmu::Level;
using pvmmu::Validator;
using pvmmu::concurrency::SharedDomain;
using pvmmu::concurrency::together;

constexpr int rounds = 3000;
constexpr std::uint32_t ring_ref = 8, first_ref = 100, refs = 16;

struct GrantedFrames : testing::Test {
  GrantedFrames() {
    ring = domain.allocate();
    for (Mfn& frame : frames) frame = domain.allocate();
    guest.grant(ring_ref, ring.raw());
    for (std::uint32_t n = 0; n < refs; ++n) guest.grant(first_ref + n, frames[n].raw());
    // No word of the disk is a present entry: a frame with its data can become an L1 table.
    for (std::size_t i = 0; i < image.bytes.size(); ++i)
      image.bytes[i] = static_cast<std::byte>(i % 8 == 0 ? 0 : i / sector_bytes);
  }
  void backend() {
    std::mt19937 random(1);
    GrantAccess access(guest.entries, std::make_unique<vmm::DomainFrameHolder>(domain.mutex, holds));
    const auto transfers = *image.make_queue(RequestRing::size);
    QueueCounts counts;
    {
      RequestQueue queue(std::move(*access.use(GrantRef(ring_ref), GrantUse::write)), access, *transfers,
                         image, counts);
      Pacing::Clock::time_point now{};
      while (!over || !queue.is_idle()) {
        image.stuck = !over && random() % 4 != 0;
        now += Pacing::most_patience;
        (void)queue.serve(now);
      }
      EXPECT_FALSE(queue.is_broken());
    }
    access.settle();
    EXPECT_GT(counts.bytes_read, 0u);
    EXPECT_GT(counts.bytes_written, 0u);
  }
  void frontend() {
    std::mt19937 random(2);
    {
      vmm::DomainFrameHolder holder(domain.mutex, holds);
      FakeFrontend front(*holder.hold(ring, vmm::FrameUse::write));
      std::uint32_t under_way = 0;
      for (int i = 0; i < rounds || under_way != 0;) {
        for (; i < rounds && under_way < RequestRing::size; ++i, ++under_way) {
          const std::uint8_t operation = random() % 3 == 0 ? BLKIF_OP_WRITE : BLKIF_OP_READ;
          front.put(transfer_request(operation, 1, random() % 900, {segment(random()), segment(random())}));
        }
        (void)front.push();
        while (front.take()) --under_way;
      }
    }
    vmm::DomainFrameHolder(domain.mutex, holds).settle();
    over = true;
  }
  static blkif_request_segment segment(std::uint64_t random) {
    return {first_ref + static_cast<std::uint32_t>(random % refs), 0,
            static_cast<std::uint8_t>(random / refs % 8)};
  }
  /// Changes grants, also those in use, as no well-behaved guest does.
  void grants() {
    std::mt19937 random(3);
    while (!over) {
      const std::uint32_t ref = first_ref + random() % refs;
      const auto frame = frames[random() % frames.size()].raw();
      switch (random() % 4) {
        case 0: guest.grant(ref, frame); break;
        case 1: guest.grant(ref, frame, GTF_permit_access | GTF_readonly); break;
        case 2: guest.grant(ref, frame, 0); break;
        default:
          if (guest.revoke(ref)) guest.grant(ref, frame);
      }
    }
  }
  /// Nobody writes the frame as long as `stays` is under way.
  void expect_unchanged(Mfn frame) {
    std::array<std::uint64_t, 512> before{};
    for (std::size_t slot = 0; slot < before.size(); ++slot)
      before[slot] = machine.memory.pages().load(frame.raw(), slot);
    std::this_thread::yield();
    for (std::size_t slot = 0; slot < before.size(); ++slot)
      ASSERT_EQ(machine.memory.pages().load(frame.raw(), slot), before[slot]);
  }
  void tables() {
    std::mt19937 random(4);
    int made = 0;
    while (!over) {
      const Mfn frame = frames[random() % frames.size()];
      const auto pinned = [&](Held held, Validator& v) {
        holds.settle(held);
        return v.owns(frame) && v.pin(held, Level::l1, frame).has_value();
      };
      if (!domain.call(pinned)) continue;
      ++made;
      expect_unchanged(frame);
      domain.call([&](Held held, Validator& v) { EXPECT_TRUE(v.unpin(held, frame)); });
    }
    EXPECT_GT(made, 0) << "the test shows something";
  }
  /// The guest gives frames back, another domain gets them, and they come back.
  void reservation() {
    std::mt19937 random(5);
    while (!over) {
      const Mfn frame = frames[random() % frames.size()];
      domain.call([&](Held held, Validator& v) {
        holds.settle(held);
        if (v.owns(frame)) (void)v.deallocate(held, frame);
      });
      const Mfn theirs = other.allocate();
      expect_unchanged(theirs);
      other.call([&](Held held, Validator& v) { EXPECT_TRUE(v.deallocate(held, theirs)); });
      (void)domain.call([](Held held, Validator& v) { return v.allocate(held).has_value(); });
    }
  }

  pvmmu::test::FakeMachine machine{64};
  SharedDomain domain{machine, DomId(1)}, other{machine, DomId(2)};
  vmm::FrameHolds holds{domain.mmu, [](Mfn, pvmmu::FrameType) { ADD_FAILURE() << "of a held frame"; }};
  Mfn ring;
  std::array<Mfn, 24> frames;
  GrantingGuest guest;
  FakeImage image{1000};
  std::atomic<bool> over{false};
};

TEST_F(GrantedFrames, transfers_write_data_frames_of_the_guest_alone) {
  together({[&] { backend(); }, [&] { frontend(); }, [&] { grants(); }, [&] { tables(); },
            [&] { reservation(); }});
  EXPECT_TRUE(holds.frames().empty());
  EXPECT_EQ(domain.findings(), std::vector<std::string>{});
  for (std::uint32_t n = 0; n < refs; ++n)
    EXPECT_EQ(guest.flags(first_ref + n) & (GTF_reading | GTF_writing), 0u) << n;
}

}  // namespace
}  // namespace pinfold::devices::block
