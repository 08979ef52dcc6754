// The queues of the FIFO event ABI: 131,071 ports, 16 priorities (xen/event_channel.h; the design is the
// document "FIFO-based event channel ABI").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "devices/event_raised.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/events.hpp"

namespace pinfold::devices {

/// Event words and control blocks of one domain.
///
/// Each port has a word in the event array: pending, masked, linked, and the port behind it in its queue. A
/// vCPU has a queue for each priority; the guest takes events from its head, which is in the vCPU's control
/// block, the monitor appends at its tail, which only the monitor knows.
///
/// All words are guest memory and may say anything at any time. So the monitor never follows a link: it reads
/// only the words of ports that it raises and of the tails that it remembers, stores are by
/// compare-and-exchange with a bounded number of tries, and a guest that garbles its queues loses events of
/// its own.
///
/// Concurrency: every operation is atomic towards the guest; calls are made with the switch's lock held.
class EventFifo {
 public:
  static constexpr std::uint32_t ports = EVTCHN_FIFO_NR_CHANNELS;
  static constexpr std::uint32_t words_per_page = page_size / sizeof(event_word_t);
  static constexpr std::size_t max_pages = ports / words_per_page;
  static constexpr std::uint32_t lowest_priority = EVTCHN_FIFO_PRIORITY_MIN;
  static constexpr std::uint8_t default_priority = EVTCHN_FIFO_PRIORITY_DEFAULT;

  explicit EventFifo(std::uint32_t vcpus) : queues_(vcpus) {}

  [[nodiscard]] bool has_control_block(VcpuId vcpu) const { return queues_[vcpu.raw()].block.page.present(); }
  /// `offset` is a multiple of 8, and the block fits behind it.
  void set_control_block(VcpuId vcpu, vmm::SharedPage page, std::size_t offset) {
    queues_[vcpu.raw()].block = {std::move(page), offset};
  }
  [[nodiscard]] bool is_full() const { return pages_.size() == max_pages; }
  /// Adds the words of the next 1,024 ports; not when it is full.
  void add_page(vmm::SharedPage page) { pages_.push_back({std::move(page), {}}); }
  [[nodiscard]] bool has_word(Port port) const { return port.raw() / words_per_page < pages_.size(); }
  /// One past the last port that has a word.
  [[nodiscard]] Port end() const { return Port(static_cast<std::uint32_t>(pages_.size()) * words_per_page); }

  // A port without a word is neither pending nor linked, and is not touched.
  /// Marks a port pending and appends it to the vCPU's queue, unless it is masked or in a queue already.
  [[nodiscard]] Raised set_pending(Port port, VcpuId vcpu, std::uint8_t priority, vmm::VcpuInfoPlace& info);
  /// Unmasks, and appends a port that was pending under its mask; true when the vCPU must take an upcall.
  [[nodiscard]] bool unmask(Port port, VcpuId vcpu, std::uint8_t priority, vmm::VcpuInfoPlace& info);
  void clear_pending(Port port);
  [[nodiscard]] bool is_pending(Port port) const;
  /// Is it in a queue that it was appended to? Such a port's number must not be used for another channel yet.
  /// What the word alone says is not believed: the guest writes it.
  [[nodiscard]] bool is_linked(Port port) const;

 private:
  /// Where a port was queued last, if ever: its word may still be that queue's tail.
  struct LastQueue {
    std::uint16_t vcpu = 0;
    std::uint8_t priority = default_priority;
    bool was_queued = false;
  };
  struct ArrayPage {
    vmm::SharedPage words;
    std::array<LastQueue, words_per_page> last;
  };
  struct Queues {
    vmm::VcpuInfoPlace block;  ///< The control block; no page until the guest has set it.
    std::array<Port, lowest_priority + 1> tails{};
  };

  [[nodiscard]] bool append(Port port, VcpuId vcpu, std::uint8_t priority, vmm::VcpuInfoPlace& info);
  [[nodiscard]] bool link_behind(Port tail, Port port);
  [[nodiscard]] bool set_bits(Port port, event_word_t bits);
  void clear_bits(Port port, event_word_t bits);
  [[nodiscard]] event_word_t load(Port port) const;
  [[nodiscard]] ArrayPage& page_of(Port port) { return pages_[port.raw() / words_per_page]; }

  std::vector<ArrayPage> pages_;
  std::vector<Queues> queues_;
};

}  // namespace pinfold::devices
