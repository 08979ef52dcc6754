// A grant table with all that it needs, and no virtual machine.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <vector>

#include "devices/grant_table.hpp"
#include "fakes.hpp"

namespace pinfold::devices {

class FakeFrames : public vmm::SharedFrameSource {
 public:
  [[nodiscard]] tl::expected<vmm::SharedFrame, Errno> allocate(pvmmu::Held) override {
    if (pages.size() >= limit) return fail(Errno::enomem);
    pages.emplace_back();
    return vmm::SharedFrame{Mfn(0x100 + pages.size() - 1), pages.back().shared()};
  }

  std::vector<FakePage> pages;
  std::size_t limit = 100;
};

/// A guest with some frames, and with an L1 entry at each address from `first_entry` to `last_entry`.
class FakeGrantTarget : public vmm::GrantTarget {
 public:
  FakeGrantTarget() : GrantTarget(true) {}
  static constexpr std::uint64_t frame_count = 50, first_table = 40;
  static constexpr std::uint64_t first_entry = 0x10000, last_entry = 0x1ffff;

  [[nodiscard]] tl::expected<vmm::SharedPage, Errno> hold_granted(pvmmu::Held, Mfn frame,
                                                                  GrantUse use) override {
    if (hold_error) return fail(*hold_error);
    if (frame.raw() >= frame_count) return fail(Errno::einval);
    if (use == GrantUse::write && frame.raw() >= first_table) return fail(Errno::ebusy);
    ++holds;
    return frames[frame.raw()].shared();
  }
  [[nodiscard]] Status map_granted(pvmmu::Held, const vmm::GrantPlace& where,
                                   const vmm::GrantedEntry& entry) override {
    if (!is_entry(where.address)) return fail(Errno::einval);
    last = where;
    entries[where.address] = entry;
    return {};
  }
  [[nodiscard]] Status unmap_granted(pvmmu::Held, const vmm::GrantPlace& where,
                                     const vmm::GrantedEntry& entry) override {
    const auto found = entries.find(where.address);
    if (found == entries.end() || found->second.frame != entry.frame ||
        found->second.writable != entry.writable)
      return fail(Errno::einval);
    last = where;
    entries.erase(found);
    return {};
  }
  [[nodiscard]] Status replace_granted(pvmmu::Held held, const vmm::GrantPlace& where,
                                       const vmm::GrantedEntry& entry, GuestVaddr from) override {
    if (!is_entry(from.raw())) return fail(Errno::einval);
    const vmm::GrantedEntry moved = entries[from.raw()];
    entries.erase(from.raw());
    if (auto done = unmap_granted(held, where, entry); !done) return done;
    entries[where.address] = moved;
    return {};
  }
  [[nodiscard]] Status give_away(pvmmu::Held, VcpuId, Mfn frame) override {
    if (!can_be_given(frame)) return fail(Errno::einval);
    on_its_way = frame;
    return {};
  }
  [[nodiscard]] Status give_to_itself(pvmmu::Held, Mfn frame, const vmm::AcceptFrame& accept) override {
    if (!can_be_given(frame)) return fail(Errno::einval);
    const auto pfn = accept();
    if (pfn) places[frame] = *pfn;
    return pfn ? Status{} : fail(pfn.error());
  }
  void drop_given(pvmmu::Held, Mfn frame) override {
    EXPECT_EQ(frame, on_its_way);
    on_its_way = no_mfn;
    ++frames_lost;
  }
  void without_lock(pvmmu::DomainLock& held, VcpuId, const std::function<void()>& visit) override {
    held.unlock();
    visit();
    held.lock();
  }
  void keep_to_the_end(std::shared_ptr<void> uses) override { kept = std::move(uses); }
  void flush_granted(pvmmu::Held, VcpuId) override {
    ++flushes;
    if (on_flush) on_flush();
  }

  void tell(pvmmu::Held, const vmm::GrantAttempt& attempt) override { told.push_back(attempt); }

  [[nodiscard]] static bool is_entry(std::uint64_t at) { return at >= first_entry && at <= last_entry; }
  [[nodiscard]] std::size_t users_of(std::uint64_t frame) { return frames[frame].users(); }

  std::vector<FakePage> frames{frame_count};
  std::map<std::uint64_t, vmm::GrantedEntry> entries;
  vmm::GrantPlace last;
  std::vector<vmm::GrantAttempt> told;
  std::optional<Errno> hold_error;
  int flushes = 0, holds = 0;
  std::function<void()> on_flush;
  std::shared_ptr<void> kept;
  [[nodiscard]] bool can_be_given(Mfn frame) {
    return frame.raw() < first_table && users_of(frame.raw()) == 0;
  }
  Mfn on_its_way = no_mfn;    ///< The last frame that was given away.
  int frames_lost = 0;        ///< How many were then dropped.
  std::map<Mfn, Pfn> places;  ///< Where the guest has frames that it received.
  bool has_room = true;
  std::function<void()> before_it_accepts;  ///< What the guest does just before it is asked.
};

/// Hands frames to that target for its neighbours.
class FakeFrameReceiver : public vmm::FrameReceiver {
 public:
  explicit FakeFrameReceiver(FakeGrantTarget& target) : target_(target) {}
  [[nodiscard]] Status receive(Mfn frame, const vmm::AcceptFrame& accept) override {
    if (!target_.has_room) return fail(Errno::enomem);
    if (target_.before_it_accepts) target_.before_it_accepts();
    const auto pfn = accept();
    if (pfn) target_.places[frame] = *pfn;
    return pfn ? Status{} : fail(pfn.error());
  }

 private:
  FakeGrantTarget& target_;
};

/// Holds that target's frames for its neighbours.
class FakeGrantHolder : public vmm::FrameHolder {
 public:
  FakeGrantHolder(FakeGrantTarget& target, pvmmu::Held held) : target_(target), held_(held) {}
  [[nodiscard]] tl::expected<vmm::SharedPage, Errno> hold(Mfn frame, GrantUse use) override {
    return target_.hold_granted(held_, frame, use);
  }
  void settle() override {}

 private:
  FakeGrantTarget& target_;
  pvmmu::Held held_;
};

class GrantTableTest : public testing::Test {
 protected:
  template <class Args>
  std::int64_t call(std::uint32_t op, Args& args, std::uint64_t count = 1) {
    EXPECT_TRUE(memory.store(GuestVaddr(FakeMemory::base), args));
    const auto rax = call_at(op, FakeMemory::base, count);
    args = *memory.fetch<Args>(GuestVaddr(FakeMemory::base));
    return rax;
  }
  std::int64_t call_at(std::uint32_t op, std::uint64_t address, std::uint64_t count) {
    vmm::Hypercall hypercall{VcpuId(0), 20, {op, address, count}, memory, &lock.held};
    return table.grant_table_op(hypercall);
  }
  std::int16_t setup(std::uint32_t frames_wanted, std::uint64_t list = 0x4000,
                     std::uint16_t dom = DOMID_SELF) {
    struct Args {
      std::uint16_t dom;
      std::uint32_t nr_frames;
      std::int16_t status;
      std::uint64_t list;
    } args{dom, frames_wanted, 99, list};
    static_assert(sizeof(Args) == sizeof(gnttab_setup_table));
    EXPECT_EQ(call(GNTTABOP_setup_table, args), 0);
    return args.status;
  }
  void grant(std::uint32_t ref, std::uint16_t flags, std::uint16_t dom, std::uint32_t frame) {
    auto page = table.entries().frames().at(ref / 512).page;
    page.store<std::uint32_t>(ref % 512 * 8 + 4, frame);
    page.store<std::uint32_t>(ref % 512 * 8, flags | std::uint32_t{dom} << 16);
  }
  std::uint16_t flags(std::uint32_t ref) {
    return table.entries().frames().at(ref / 512).page.load<std::uint16_t>(ref % 512 * 8);
  }

  FakeFrames frames;
  FakeMemory memory;
  FakeLock lock;
  FakeGrantTarget target;
  GrantTable table{DomId(1), frames, target, {.table = 4, .maptrack = 1}};
};

}  // namespace pinfold::devices
