// The two ways to count what L1 entries refer to: with the domain's lock held alone, and while others share
// it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "pvmmu/frame.hpp"

namespace pinfold::pvmmu {

/// The lock is held alone: nobody else reads or writes the record.
struct ExclusiveAccess {
  template <class T>
  static T read(const T& field) {
    return field;
  }
  static void become_writable(FrameFacts& facts) { facts.type = FrameType::writable; }
  /// One reference, by an entry that is writable or not.
  static void add(FrameUses& uses, bool writable) {
    if (writable) ++uses.writable;
    ++uses.refs;
  }
  /// The same back. How many are left; less than 0 if there was none.
  static std::int32_t drop(FrameUses& uses, bool writable) {
    if (writable) --uses.writable;
    return static_cast<std::int32_t>(--uses.refs);
  }
};

/// Others share the lock and count in the same record. What of a record they change, and why atomic counts
/// suffice: concurrent_update.cpp.
struct SharedAccess {
  template <class T>
  static T read(const T& field) {
    return std::atomic_ref(const_cast<T&>(field)).load(std::memory_order_relaxed);
  }
  static void become_writable(FrameFacts& facts) {
    std::atomic_ref(facts.type).store(FrameType::writable, std::memory_order_relaxed);
  }
  static void add(FrameUses& uses, bool writable) { change(uses, writable ? one_of_both : one_reference); }
  static std::int32_t drop(FrameUses& uses, bool writable) {
    return static_cast<std::int32_t>(change(uses, writable ? -one_of_both : -one_reference) - 1);
  }

 private:
  /// Both counts are one word, so that one locked instruction changes both. No count passes 2^31. If one gets
  /// below 0, an entry was forged, and adding the same again restores both.
  static_assert(offsetof(FrameUses, refs) == 0 && offsetof(FrameUses, writable) == 4);
  static constexpr std::uint64_t one_reference = 1, one_of_both = (1ULL << 32) + 1;
  /// What was there before.
  static std::uint64_t change(FrameUses& uses, std::uint64_t by) {
    using BothCounts [[gnu::may_alias]] = std::uint64_t;
    return __atomic_fetch_add(reinterpret_cast<BothCounts*>(&uses), by, __ATOMIC_RELAXED);
  }
};

}  // namespace pinfold::pvmmu
