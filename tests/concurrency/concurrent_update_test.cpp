// vCPUs that change entries of L1 tables while they share the domain's lock, and others that hold it alone in
// between. Entry and mirror must agree, each count must be right (the audit recounts them all), and no frame
// may be writable through a mirror while it is a table.
#include <gtest/gtest.h>

#include <random>

#include "rig.hpp"

namespace pinfold::pvmmu::concurrency {
namespace {

using test::entry_at;
using test::ro;
using test::rw;

constexpr int rounds = 2000;
constexpr std::size_t slots = 8;  // few: they meet

const std::vector<std::string> nothing;

struct ConcurrentUpdate : testing::Test {
  ConcurrentUpdate() {
    for (Mfn& table : tables) {
      table = one.allocate();
      one.call([&](Held held, Validator& v) { EXPECT_TRUE(v.pin(held, Level::l1, table)); });
    }
    for (Mfn& frame : frames) frame = one.allocate();
  }
  /// Makes random lists of updates. As a vCPU does, it makes those that can't be made with the lock shared
  /// with the lock held alone.
  void updates(unsigned seed) {
    std::mt19937 random(seed);
    DomainSharer sharer(one.mutex);
    MmuCounters counters;
    for (int i = 0; i < rounds; ++i) {
      std::vector<EntryUpdate> list(1 + random() % 12);
      for (EntryUpdate& u : list) {
        const Pte want =
            random() % 4 == 0 ? Pte() : Pte(frames[random() % frames.size()], random() % 2 ? rw : ro);
        u = {entry_at(tables[random() % tables.size()], random() % slots), want};
      }
      std::size_t done = 0;
      while (done < list.size()) {
        {
          const DomainShare share(sharer);
          const std::size_t more =
              one.mmu.update_concurrently(share, counters, std::span(list).subspan(done));
          done += more;
          together_done += more;
        }
        if (done == list.size()) break;
        one.call([&](Held held, Validator& v) {
          if (!v.update(held, list[done].where, list[done].want, Preserve::nothing)) ++refused;
        });
        ++done;
      }
    }
    one.call([&](Held held, Validator& v) { v.count(held, counters); });
  }

  test::FakeMachine machine{256};
  SharedDomain one{machine, DomId(1)};
  std::array<Mfn, 3> tables;
  std::array<Mfn, 6> frames;
  std::atomic<std::uint64_t> together_done{0}, refused{0};
};

TEST_F(ConcurrentUpdate, updates_of_the_same_entries_leave_entry_mirror_and_counts_in_agreement) {
  together({[&] { updates(1); }, [&] { updates(2); }, [&] { updates(3); }});
  EXPECT_EQ(one.findings(), nothing);
  EXPECT_EQ(refused, 0U);
  EXPECT_GT(together_done, 0U);
  const MmuCounters counted = one.call([](Held, Validator& v) { return v.counters(); });
  EXPECT_GE(counted.entries_stored, together_done);
}

TEST_F(ConcurrentUpdate, two_writers_of_one_entry_drop_each_frame_as_often_as_they_named_it) {
  const auto write = [&](std::size_t first) {
    DomainSharer sharer(one.mutex);
    MmuCounters counters;
    std::vector<EntryUpdate> list;
    for (std::size_t i = 0; i < 16; ++i)
      list.push_back({entry_at(tables[0], 0), Pte(frames[(first + i) % frames.size()], rw)});
    for (int i = 0; i < 4 * rounds; ++i) {
      const DomainShare share(sharer);
      EXPECT_EQ(one.mmu.update_concurrently(share, counters, std::span(list).first(1 + i % 16)), 1U + i % 16);
    }
  };
  together({[&] { write(0); }, [&] { write(3); }});
  EXPECT_EQ(one.findings(), nothing);
}

/// What a device's thread does with its guest's frames: hold, use, release. It takes the lock alone where
/// that is needed.
struct HoldingDevice {
  SharedDomain& domain;
  DomainSharer sharer{domain.mutex};
  std::uint64_t held_shared = 0, held_alone = 0, refused = 0;

  bool hold(Mfn frame) {
    {
      const DomainShare share(sharer);
      if (domain.mmu.try_hold_writable(share, frame)) return ++held_shared, true;
    }
    const bool held = domain.call(
        [&](Held lock, Validator& v) { return v.hold(lock, frame, FrameType::writable).has_value(); });
    ++(held ? held_alone : refused);
    return held;
  }
  void release(Mfn frame) {
    {
      const DomainShare share(sharer);
      if (domain.mmu.try_release_writable(share, frame)) return;
    }
    domain.call([&](Held lock, Validator& v) { v.release(lock, frame); });
  }
};

TEST_F(ConcurrentUpdate, a_device_holds_frames_while_others_map_and_unmap_them) {
  std::atomic<std::uint64_t> held_shared{0};
  const auto device = [&](std::size_t first) {
    HoldingDevice d{one};
    for (int i = 0; i < 4 * rounds; ++i) {
      const Mfn a = frames[(first + static_cast<std::size_t>(i)) % frames.size()], b = frames[first];
      ASSERT_TRUE(d.hold(a) && d.hold(b));
      d.release(a);
      d.release(b);
    }
    held_shared += d.held_shared;
  };
  together({[&] { updates(8); }, [&] { updates(9); }, [&] { device(0); }, [&] { device(3); }});
  EXPECT_EQ(one.findings(), nothing);
  EXPECT_EQ(held_shared, 2U * 2 * 4 * rounds);  // nothing here takes more than counting
}

TEST_F(ConcurrentUpdate, a_frame_that_a_device_holds_becomes_no_table) {
  std::atomic<bool> over{false};
  const auto device = [&] {
    HoldingDevice d{one};
    while (!over || d.held_shared == 0)
      for (const Mfn frame : frames) {
        if (!d.hold(frame)) continue;
        EXPECT_EQ(type_as_of_now(one.mmu.facts(frame)), FrameType::writable);
        d.release(frame);
      }
  };
  together({device, device, [&] { updates(10); },
            [&] {
              for (int i = 0; i < rounds; ++i)
                one.call([&](Held held, Validator& v) {
                  const Mfn frame = frames[static_cast<std::size_t>(i) % frames.size()];
                  EXPECT_TRUE(!v.pin(held, Level::l1, frame) || v.unpin(held, frame));
                });
              over = true;
            }});
  EXPECT_EQ(one.findings(), nothing);
}

TEST_F(ConcurrentUpdate, a_frame_given_up_under_a_device_s_hold_is_freed_with_its_release) {
  HoldingDevice d{one};
  const std::uint64_t before = one.call([](Held, Validator& v) { return v.allocated_frames(); });
  together({[&] {
              for (int i = 0; i < rounds; ++i) {
                const Mfn frame = one.allocate();
                ASSERT_TRUE(d.hold(frame));
                one.call([&](Held held, Validator& v) { EXPECT_TRUE(v.deallocate(held, frame)); });
                EXPECT_TRUE(one.mmu.owns(frame));
                d.release(frame);
              }
            },
            [&] { updates(11); }});
  EXPECT_EQ(one.findings(), nothing);
  EXPECT_EQ(one.call([](Held, Validator& v) { return v.allocated_frames(); }), before);
}

TEST_F(ConcurrentUpdate, no_frame_is_mapped_writable_while_it_becomes_a_table) {
  // What the entries of mirrors permit, at a moment when nobody changes them.
  const auto check = [&](Held, Validator& v) {
    for (const Mfn table : tables)
      for (std::size_t slot = 0; slot < slots; ++slot) {
        const Pte entry = machine.peek(table, slot);
        const bool writable = entry.present() && entry.writable();
        EXPECT_FALSE(writable && is_table(v.frame(entry.mfn()).type));
      }
  };
  // Whether a frame can become a table depends on the other threads: they go on until one did.
  constexpr int most_rounds = 1000 * rounds;
  std::uint64_t tables_made = 0;
  std::atomic<bool> over{false};
  const auto update_until_over = [&](unsigned seed) {
    do updates(seed);
    while (!over);
  };
  together({[&] { update_until_over(4); }, [&] { update_until_over(5); },
            [&] {
              for (int i = 0; i < rounds || (tables_made == 0 && i < most_rounds); ++i)
                one.call([&](Held held, Validator& v) {
                  const Mfn frame = frames[static_cast<std::size_t>(i) % frames.size()];
                  if (v.pin(held, Level::l1, frame)) {
                    ++tables_made;
                    check(held, v);
                    EXPECT_TRUE(i % 16 == 0 || v.unpin(held, frame));
                  } else {
                    (void)v.unpin(held, frame);
                  }
                });
              over = true;
            }});
  EXPECT_EQ(one.findings(), nothing);
  EXPECT_GT(tables_made, 0U);
}

TEST_F(ConcurrentUpdate, frames_given_up_meanwhile_are_freed_once) {
  together({[&] { updates(6); }, [&] { updates(7); },
            [&] {
              for (int i = 0; i < rounds; ++i) {
                // A new frame that one entry names and that is given back at once: whoever writes to that
                // entry drops the last reference.
                const Mfn frame = one.allocate();
                one.call([&](Held held, Validator& v) {
                  EXPECT_TRUE(v.update(held, entry_at(tables[0], 0), Pte(frame, rw), Preserve::nothing));
                  EXPECT_TRUE(v.deallocate(held, frame));
                });
              }
            }});
  EXPECT_EQ(one.findings(), nothing);
  one.call([&](Held held, Validator& v) {
    for (const Mfn table : tables) {
      for (std::size_t slot = 0; slot < slots; ++slot)
        EXPECT_TRUE(v.update(held, entry_at(table, slot), Pte(), Preserve::nothing));
      EXPECT_TRUE(v.unpin(held, table));
    }
    EXPECT_EQ(v.allocated_frames(), tables.size() + frames.size());
  });
  for (const Mfn frame : frames) EXPECT_TRUE(one.is_plain(frame));
}

TEST(DomainShare, who_has_the_lock_alone_has_it_alone) {
  DomainMutex mutex;
  std::uint64_t plain = 0;  // TSan would tell
  std::atomic<int> inside{0};
  const auto sharing = [&] {
    DomainSharer sharer(mutex);
    for (int i = 0; i < rounds; ++i) {
      const DomainShare share(sharer);
      ++inside;
      EXPECT_LT(plain, 2U * rounds + 1);
      --inside;
    }
  };
  const auto alone = [&] {
    for (int i = 0; i < rounds; ++i) {
      const DomainLock lock(mutex);
      EXPECT_EQ(inside, 0);
      ++plain;
    }
  };
  together({sharing, sharing, alone, alone});
  EXPECT_EQ(plain, 2U * rounds);
}

/// Two threads share it at the same time: each waits inside for the other.
TEST(DomainShare, two_hold_it_together) {
  DomainMutex mutex;
  std::barrier both(2);
  const auto sharing = [&] {
    DomainSharer sharer(mutex);
    const DomainShare share(sharer);
    both.arrive_and_wait();
  };
  together({sharing, sharing});
}

}  // namespace
}  // namespace pinfold::pvmmu::concurrency
