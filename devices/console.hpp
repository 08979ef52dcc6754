// The PV console: what the guest prints, and what the host types, through one shared page (xen/io/console.h).
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "devices/byte_ring.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::devices {

/// Takes as many bytes as it has room for, without waiting; returns how many.
using ConsoleSink = std::function<std::size_t(std::span<const std::byte>)>;

/// The backend of one console ring. Any thread may call it. The sink is called in order, one call at a time,
/// with this object's lock held: it must not call back. Bytes that it does not take stay here and in the
/// guest's ring. When the ring is full, the guest can't print more, and runs on otherwise. The sink's owner
/// calls `on_room` when the sink takes more. `notify` raises the guest's port and is called without the lock.
class Console {
 public:
  /// The most input that waits here while the guest doesn't read; more is refused.
  static constexpr std::size_t input_limit = std::size_t{64} * 1024;

  Console(vmm::SharedPage ring, ConsoleSink sink, std::function<void()> notify);

  /// The guest sent an event on the console's port: it wrote output, or made room for input.
  void on_guest_event();
  /// The sink takes more, after it did not take all.
  void on_room() { on_guest_event(); }
  /// Queues input for the guest; how many bytes were accepted.
  std::size_t write_input(std::span<const std::byte> bytes);
  /// Did the guest ever write contradictory ring indices? Reported once in the log, and otherwise harmless.
  [[nodiscard]] bool misbehaved();

 private:
  bool drain_output();
  void offer_output();
  bool fill_input();
  void report_once();

  std::mutex mutex_;
  RingReader output_;
  RingWriter input_;
  ConsoleSink sink_;
  std::function<void()> notify_;
  std::deque<std::byte> waiting_;     ///< Input.
  std::vector<std::byte> not_taken_;  ///< Output; at most a ring's worth.
  bool reported_ = false;
};

}  // namespace pinfold::devices
