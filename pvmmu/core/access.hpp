// The two ways to count in a frame's record: with the domain's lock held alone, and while others share it.
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
  static void become_writable(Frame& frame) { frame.type = FrameType::writable; }
  /// One reference; typed: and one of the type that the frame has.
  static void add(Frame& frame, bool typed) {
    if (typed) ++frame.type_count;
    ++frame.refs;
  }
  /// The same back. Whether any reference is left.
  static bool drop(Frame& frame, bool typed) {
    if (typed) --frame.type_count;
    return --frame.refs != 0;
  }
};

/// Others share the lock and count in the same record. What of a record they change, and why atomic counts
/// suffice: concurrent_update.cpp.
struct SharedAccess {
  template <class T>
  static T read(const T& field) {
    return std::atomic_ref(const_cast<T&>(field)).load(std::memory_order_relaxed);
  }
  static void become_writable(Frame& frame) {
    std::atomic_ref(frame.type).store(FrameType::writable, std::memory_order_relaxed);
  }
  static void add(Frame& frame, bool typed) { change(frame, typed ? one_of_both : one_reference); }
  static bool drop(Frame& frame, bool typed) {
    const std::uint64_t before = change(frame, typed ? -one_of_both : -one_reference);
    return static_cast<std::uint32_t>(before) != 1;
  }

 private:
  /// Both counts are one word, so that one locked instruction changes both. No count passes 2^31 or gets
  /// below 0, so nothing is carried from one into the other.
  static_assert(offsetof(Frame, refs) == 0 && offsetof(Frame, type_count) == 4);
  static constexpr std::uint64_t one_reference = 1, one_of_both = (1ULL << 32) + 1;
  /// What was there before.
  static std::uint64_t change(Frame& frame, std::uint64_t by) {
    using BothCounts [[gnu::may_alias]] = std::uint64_t;
    return __atomic_fetch_add(reinterpret_cast<BothCounts*>(&frame), by, __ATOMIC_RELAXED);
  }
};

}  // namespace pinfold::pvmmu
