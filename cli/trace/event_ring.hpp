// Events on their way from the threads of vCPUs to the log's own.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "pvmmu/trace.hpp"

namespace pinfold::trace {

/// An event, when it began and what it took, in the processor's ticks.
struct ToldEvent {
  pvmmu::TraceEvent event;
  std::uint64_t time = 0;
  std::uint64_t cost = 0;
};

/// A queue of bounded length with one thread at each end: putting an event in is a copy, and takes no lock.
/// At the one end several threads may take turns, if each turn happens after the one before (Log::Turn
/// sees to that).
class EventRing {
 public:
  /// 4096 events; 1 MiB.
  EventRing();

  // -- the end where events go in

  /// Waits while the ring is full.
  void put(DomId domain, const pvmmu::TraceEvent& event, std::uint64_t time, std::uint64_t cost) {
    const std::uint64_t at = put_.load(std::memory_order_relaxed);
    if (at - taken_seen_ == size) wait_for_room();
    if (!event.contents.empty() || !event.digests.empty()) [[unlikely]]
      attach(event);
    ToldEvent& slot = slots_[at % size];
    slot.event = event;
    slot.event.domain = domain;
    slot.time = time;
    slot.cost = cost;
    put_.store(at + 1, std::memory_order_release);
    if ((at + 1) % wake_each == 0) [[unlikely]]
      wake();
  }

  // -- the end where they come out

  /// Waits until there is something to be taken or `patience` is over, or the ring is closed; longer than
  /// that, if there is little.
  void wait(std::chrono::milliseconds patience);
  /// Calls `take(told)` for each event that is there; what its event refers to is good during the call.
  template <class Take>
  void take_all(Take&& take) {
    const std::uint64_t end = put_.load(std::memory_order_acquire);
    for (std::uint64_t at = taken_.load(std::memory_order_relaxed); at != end;) {
      ToldEvent& told = slots_[at % size];
      const Attached attached = attached_to(told.event);
      take(std::as_const(told));
      if (++at % wake_each == 0 || at == end) give_back(at);
    }
  }

  /// By either end: nothing will be put in any more. wait() returns at once from now on.
  void close();
  [[nodiscard]] bool closed() const { return closed_.load(std::memory_order_acquire); }

 private:
  static constexpr std::uint64_t size = 4096, wake_each = size / 4;
  /// What spans of an event refer to: rare, large, and kept aside.
  struct Attached {
    std::vector<std::uint64_t> contents;
    std::vector<std::uint32_t> digests;
  };

  void attach(const pvmmu::TraceEvent& event);
  Attached attached_to(pvmmu::TraceEvent& event);
  void wait_for_room();
  void give_back(std::uint64_t taken);
  void wake();

  std::unique_ptr<ToldEvent[]> slots_;
  alignas(64) std::atomic<std::uint64_t> put_ = 0;
  std::uint64_t taken_seen_ = 0;  ///< `taken_` as the end where events go in saw it last.
  alignas(64) std::atomic<std::uint64_t> taken_ = 0;
  std::atomic<bool> closed_ = false;
  std::mutex mutex_;  ///< A leaf. Guards sleeping, and `attached_`.
  std::condition_variable there_is_some_;
  std::deque<Attached> attached_;
};

}  // namespace pinfold::trace
