#include "devices/event_fifo.hpp"

namespace pinfold::devices {
namespace {

constexpr event_word_t bit(unsigned n) { return event_word_t{1} << n; }
constexpr event_word_t pending = bit(EVTCHN_FIFO_PENDING), masked = bit(EVTCHN_FIFO_MASKED),
                       linked = bit(EVTCHN_FIFO_LINKED), busy = bit(EVTCHN_FIFO_BUSY),
                       link_mask = EVTCHN_FIFO_LINK_MASK;

constexpr std::size_t ready_offset = offsetof(evtchn_fifo_control_block, ready);
constexpr std::size_t head_offset = offsetof(evtchn_fifo_control_block, head);
static_assert(sizeof(evtchn_fifo_control_block) == 72 && ready_offset == 0 && head_offset == 8);
static_assert(EventFifo::ports == 131072 && EventFifo::max_pages == 128);

constexpr std::size_t offset_of(Port port) {
  return port.raw() % EventFifo::words_per_page * sizeof(event_word_t);
}

}  // namespace

event_word_t EventFifo::load(Port port) const {
  return pages_[port.raw() / words_per_page].words.load<event_word_t>(offset_of(port));
}

/// Were any of them set?
bool EventFifo::set_bits(Port port, event_word_t bits) {
  return (page_of(port).words.fetch_or(offset_of(port), bits) & bits) != 0;
}

void EventFifo::clear_bits(Port port, event_word_t bits) {
  page_of(port).words.fetch_and(offset_of(port), static_cast<event_word_t>(~bits));
}

Raised EventFifo::set_pending(Port port, VcpuId vcpu, std::uint8_t priority, vmm::VcpuInfoPlace& info) {
  if (!has_word(port)) return Raised::already;
  // Pending before mask: a guest that unmasks in between either is seen here, or sees the bit itself.
  const bool was_pending = set_bits(port, pending);
  if ((load(port) & (masked | linked)) == 0 && append(port, vcpu, priority, info)) return Raised::upcall;
  return was_pending ? Raised::already : Raised::quiet;
}

bool EventFifo::unmask(Port port, VcpuId vcpu, std::uint8_t priority, vmm::VcpuInfoPlace& info) {
  if (!has_word(port)) return false;
  clear_bits(port, masked);
  return is_pending(port) && set_pending(port, vcpu, priority, info) == Raised::upcall;
}

void EventFifo::clear_pending(Port port) {
  if (has_word(port)) clear_bits(port, pending);
}

bool EventFifo::is_pending(Port port) const { return has_word(port) && (load(port) & pending) != 0; }
bool EventFifo::is_linked(Port port) const {
  if (!has_word(port)) return false;
  const ArrayPage& page = pages_[port.raw() / words_per_page];
  return page.last[port.raw() % words_per_page].was_queued && (load(port) & linked) != 0;
}

/// True when the queue was empty, so that the vCPU needs an upcall.
bool EventFifo::append(Port port, VcpuId vcpu, std::uint8_t priority, vmm::VcpuInfoPlace& info) {
  Queues& queues = queues_[vcpu.raw()];
  // Without a control block there is no queue; the event stays pending, as on Xen.
  if (!queues.block.page.present()) return false;
  if (set_bits(port, linked)) return false;

  // The guest has taken the port from the queue that it was in last. If it was that queue's tail, the queue
  // is empty: it must not be appended to through a word that is about to be in another queue.
  LastQueue& last = page_of(port).last[port.raw() % words_per_page];
  Port& old_tail = queues_[last.vcpu].tails[last.priority];
  if (old_tail == port) old_tail = Port(0);
  last = {static_cast<std::uint16_t>(vcpu.raw()), priority, true};

  // A tail that is not linked any more was taken by the guest: the queue is empty, and `port` its new head.
  Port& tail = queues.tails[priority];
  const bool was_in_use = tail != Port(0) && link_behind(tail, port);
  const std::size_t block = queues.block.offset;
  if (!was_in_use)
    queues.block.page.store(block + head_offset + priority * sizeof(std::uint32_t), port.raw());
  tail = port;
  if (was_in_use) return false;
  const std::uint32_t ready = 1U << priority;
  return (queues.block.page.fetch_or(block + ready_offset, ready) & ready) == 0 && mark_upcall(info);
}

/// Makes `port` the one behind `tail`; false when `tail` is in no queue. The guest may change the tail's word
/// at any time, by masking and unmasking for one; BUSY asks it to leave that alone. A guest that goes on is
/// left with its queue as it made it.
bool EventFifo::link_behind(Port tail, Port port) {
  vmm::SharedPage& words = page_of(tail).words;
  constexpr int tries = 4;
  event_word_t word = load(tail);
  for (int i = 0; i < tries; ++i) {
    if ((word & linked) == 0) break;
    const event_word_t behind = (word & ~(busy | link_mask)) | port.raw();
    if (words.compare_exchange(offset_of(tail), word, behind)) return true;
    if ((word & linked) != 0 && !set_bits(tail, busy)) word |= busy;
  }
  clear_bits(tail, busy);
  return (word & linked) != 0;
}

}  // namespace pinfold::devices
