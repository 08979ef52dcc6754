// A guest's console: the ring that start_info names, its event channel, and what is behind it on the host.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "devices/console.hpp"
#include "devices/device.hpp"
#include "devices/event_channels.hpp"

namespace pinfold::devices {

/// Concurrency: between start() and detach() any thread may call write_input() and on_room().
class ConsoleDevice final : public Device {
 public:
  /// `events` and `guest` outlive this. The sink is called as Console says.
  ConsoleDevice(EventChannels& events, vmm::EventTarget& guest, ConsoleSink sink)
      : events_(events), guest_(guest), sink_(std::move(sink)) {}

  void attach(vmm::HypercallTable& hypercalls, BootRings& rings) override;
  [[nodiscard]] tl::expected<void, std::string> start(pvmmu::Held held, const BootRings& rings) override;
  void quiesce() override { on_room(); }
  void detach() override;

  /// Queues input for the guest; returns how many bytes were accepted.
  std::size_t write_input(std::span<const std::byte> bytes) { return console_->write_input(bytes); }
  /// The sink takes more, after it did not take all.
  void on_room() { console_->on_room(); }

 private:
  EventChannels& events_;
  vmm::EventTarget& guest_;
  ConsoleSink sink_;
  std::unique_ptr<Console> console_;
};

}  // namespace pinfold::devices
