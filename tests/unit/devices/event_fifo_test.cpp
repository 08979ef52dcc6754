// The FIFO event ABI, with a guest that handles events as xen/event_channel.h describes it, and with one that
// garbles its words.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "event_guest.hpp"

namespace pinfold::devices {
namespace {

constexpr event_word_t pending = 1U << EVTCHN_FIFO_PENDING, masked = 1U << EVTCHN_FIFO_MASKED,
                       linked = 1U << EVTCHN_FIFO_LINKED, link_mask = EVTCHN_FIFO_LINK_MASK;

/// A guest on the FIFO ABI: control blocks in frames 100 and 101 at `block`, array pages from frame 0 on.
class FifoGuest : public Guest {
 public:
  static constexpr std::uint32_t block = 128, first_block_frame = 100;

  explicit FifoGuest(std::uint32_t pages = 1) : Guest(1) {
    for (std::uint32_t vcpu = 0; vcpu < 2; ++vcpu) EXPECT_EQ(init(vcpu), 0);
    for (std::uint32_t page = 0; page < pages; ++page) EXPECT_EQ(expand(page), 0);
  }
  std::int64_t init(std::uint32_t vcpu) { return init_at(vcpu, first_block_frame + vcpu, block); }
  std::int64_t init_at(std::uint32_t vcpu, std::uint64_t frame, std::uint32_t offset) {
    evtchn_init_control args{frame, offset, vcpu, 0, {}};
    const auto rax = call(EVTCHNOP_init_control, args);
    if (rax == 0) {
      EXPECT_EQ(args.link_bits, EVTCHN_FIFO_LINK_BITS);
    }
    return rax;
  }
  std::int64_t expand(std::uint64_t frame) {
    evtchn_expand_array args{frame};
    return call(EVTCHNOP_expand_array, args);
  }
  std::int64_t set_priority(std::uint32_t port, std::uint32_t priority) {
    evtchn_set_priority args{port, priority};
    return call(EVTCHNOP_set_priority, args);
  }
  std::int64_t send(std::uint32_t port) { return port_op(EVTCHNOP_send, port); }
  std::int64_t unmask(std::uint32_t port) { return port_op(EVTCHNOP_unmask, port); }

  vmm::SharedPage words(std::uint32_t port) { return target.frames[port / 1024].shared(); }
  static std::size_t at(std::uint32_t port) { return port % 1024 * sizeof(event_word_t); }
  event_word_t word(std::uint32_t port) { return words(port).load<event_word_t>(at(port)); }
  void set(std::uint32_t port, event_word_t bits) { words(port).fetch_or(at(port), bits); }
  void clear(std::uint32_t port, event_word_t bits) {
    words(port).fetch_and(at(port), static_cast<event_word_t>(~bits));
  }
  vmm::SharedPage control(std::uint32_t vcpu) { return target.frames[first_block_frame + vcpu].shared(); }
  std::uint32_t ready(std::uint32_t vcpu) { return control(vcpu).load<std::uint32_t>(block); }
  std::uint32_t head(std::uint32_t vcpu, std::uint32_t priority) {
    return control(vcpu).load<std::uint32_t>(block + 8 + priority * 4);
  }

  /// Handles all events of a vCPU: the order in which ports came.
  std::vector<std::uint32_t> handle(std::uint32_t vcpu) {
    std::vector<std::uint32_t> seen;
    auto place = target.vcpu_info(VcpuId(vcpu));
    place.page.exchange(place.offset, std::uint8_t{0});
    std::uint32_t todo = control(vcpu).exchange<std::uint32_t>(block, 0);
    while (todo != 0) {
      const auto priority = static_cast<std::uint32_t>(__builtin_ctz(todo));
      if (!take_one(vcpu, priority, seen)) todo &= ~(1U << priority);
      todo |= control(vcpu).exchange<std::uint32_t>(block, 0);
    }
    return seen;
  }

 private:
  std::array<std::array<std::uint32_t, 16>, 2> heads_{};

  /// False: the queue is empty now.
  bool take_one(std::uint32_t vcpu, std::uint32_t priority, std::vector<std::uint32_t>& seen) {
    std::uint32_t& local = heads_[vcpu][priority];
    const std::uint32_t port = local != 0 ? local : head(vcpu, priority);
    if (port == 0) return false;
    const event_word_t before = words(port).fetch_and(at(port), ~(linked | link_mask));
    local = before & link_mask;
    if ((word(port) & (pending | masked)) == pending) {
      clear(port, pending);
      seen.push_back(port);
    }
    return local != 0;
  }
};

using Ports = std::vector<std::uint32_t>;

TEST(EventFifo, before_it_is_set_up_its_operations_are_refused) {
  Guest g(1);
  evtchn_expand_array expand{1};
  EXPECT_EQ(g.call(EVTCHNOP_expand_array, expand), eopnotsupp);
  evtchn_set_priority priority{g.bind_ipi(0), 3};
  EXPECT_EQ(g.call(EVTCHNOP_set_priority, priority), enosys);
  priority.port = 4000;
  EXPECT_EQ(g.call(EVTCHNOP_set_priority, priority), einval);
}

TEST(EventFifo, bad_control_blocks_are_refused_and_hold_nothing) {
  FifoGuest g(0);
  const std::size_t held = g.target.frames_held();
  EXPECT_EQ(g.init_at(2, 5, 0), enoent);
  EXPECT_EQ(g.init_at(~0U, 5, 0), enoent);
  EXPECT_EQ(g.init(0), einval) << "each vCPU has one";
  FifoGuest fresh(0);
  Guest other(2);
  for (const std::uint32_t offset : {1U, 4U, 4095U, 4096U - 64, 4096U, ~0U, ~7U}) {
    evtchn_init_control args{5, offset, 0, 0, {}};
    EXPECT_EQ(other.call(EVTCHNOP_init_control, args), einval) << offset;
  }
  for (const std::uint64_t frame : {FakeTarget::frame_count, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    evtchn_init_control args{frame, 0, 0, 0, {}};
    EXPECT_EQ(other.call(EVTCHNOP_init_control, args), einval) << frame;
  }
  EXPECT_EQ(other.target.frames_held(), 0);
  // What failed has not changed the ABI.
  const auto port = other.bind_ipi(0);
  ASSERT_EQ(other.port_op(EVTCHNOP_send, port), 0);
  EXPECT_TRUE(other.target.pending(port));
  EXPECT_EQ(g.target.frames_held(), held);
}

TEST(EventFifo, the_array_grows_to_its_128_pages_and_no_further) {
  FifoGuest g(0);
  EXPECT_EQ(g.expand(FakeTarget::frame_count), einval);
  for (std::uint32_t page = 0; page < 128; ++page) ASSERT_EQ(g.expand(page % 90), 0);
  EXPECT_EQ(g.expand(0), enospc);
  EXPECT_EQ(g.target.frames_held(), 130);
  EXPECT_TRUE(g.channels.is_valid(Port(131071)));
  EXPECT_FALSE(g.channels.is_valid(Port(131072)));
}

TEST(EventFifo, all_of_its_ports_are_usable_and_no_more) {
  FifoGuest g(0);
  for (std::uint32_t i = 1; i < EventFifo::ports; ++i) ASSERT_EQ(g.listen(0), i);
  evtchn_alloc_unbound more{DOMID_SELF, 0, 0};
  EXPECT_EQ(g.call(EVTCHNOP_alloc_unbound, more), enospc);
}

TEST(EventFifo, events_come_in_order_and_the_vcpu_is_told_once) {
  FifoGuest g;
  Ports ports;
  for (int i = 0; i < 5; ++i) ports.push_back(g.bind_ipi(1));
  for (const auto port : ports) EXPECT_EQ(g.send(port), 0);
  EXPECT_EQ(g.target.kicks[1], 1);
  EXPECT_EQ(g.target.kicks[0], 0);
  EXPECT_EQ(g.ready(1), 1U << 7);
  EXPECT_EQ(g.handle(1), ports);
  EXPECT_TRUE(g.handle(1).empty());
  EXPECT_EQ(g.send(ports[3]), 0);
  EXPECT_EQ(g.target.kicks[1], 2);
  EXPECT_EQ(g.handle(1), Ports{ports[3]});
}

TEST(EventFifo, an_event_that_is_pending_is_not_queued_again) {
  FifoGuest g;
  const auto port = g.bind_ipi(0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(g.send(port), 0);
  EXPECT_EQ(g.handle(0), Ports{port});
  EXPECT_TRUE(g.handle(0).empty());
}

TEST(EventFifo, a_masked_event_is_queued_when_it_is_unmasked) {
  FifoGuest g;
  const auto port = g.bind_ipi(0);
  g.set(port, masked);
  EXPECT_EQ(g.send(port), 0);
  EXPECT_EQ(g.word(port), masked | pending);
  EXPECT_TRUE(g.channels.is_pending(Port(port)));
  EXPECT_EQ(g.target.kicks[0], 0);
  EXPECT_EQ(g.target.poller_wakes, 1);
  EXPECT_EQ(g.unmask(port), 0);
  EXPECT_EQ(g.target.kicks[0], 1);
  EXPECT_EQ(g.handle(0), Ports{port});
  EXPECT_EQ(g.unmask(port), 0);
  EXPECT_EQ(g.target.kicks[0], 1);
}

TEST(EventFifo, priorities_have_queues_of_their_own) {
  FifoGuest g;
  const auto low = g.bind_ipi(0), high = g.bind_ipi(0), usual = g.bind_ipi(0);
  EXPECT_EQ(g.set_priority(low, 15), 0);
  EXPECT_EQ(g.set_priority(high, 0), 0);
  EXPECT_EQ(g.set_priority(high, 16), einval);
  EXPECT_EQ(g.set_priority(high, ~0U), einval);
  for (const auto port : {low, usual, high}) EXPECT_EQ(g.send(port), 0);
  EXPECT_EQ(g.ready(0), 1U << 15 | 1U << 7 | 1U);
  EXPECT_EQ(g.handle(0), (Ports{high, usual, low}));
}

TEST(EventFifo, a_tail_that_moves_to_another_queue_is_not_appended_to_there) {
  FifoGuest g;
  const auto mover = g.bind_ipi(0), other = g.bind_ipi(0);
  EXPECT_EQ(g.send(mover), 0);
  EXPECT_EQ(g.handle(0), Ports{mover});
  EXPECT_EQ(g.set_priority(mover, 3), 0);
  EXPECT_EQ(g.send(mover), 0);  // linked again, in queue 3; queue 7 had it as its tail
  EXPECT_EQ(g.send(other), 0);
  EXPECT_EQ(g.head(0, 7), other);
  EXPECT_EQ(g.word(mover) & link_mask, 0U);
  EXPECT_EQ(g.handle(0), (Ports{mover, other}));
}

TEST(EventFifo, a_port_moves_to_another_vcpu_with_its_next_event) {
  FifoGuest g;
  const Port port = g.channels.open_monitor_channel({});
  g.channels.notify_guest(port);
  EXPECT_EQ(g.handle(0), Ports{port.raw()});
  evtchn_bind_vcpu bind{port.raw(), 1};
  EXPECT_EQ(g.call(EVTCHNOP_bind_vcpu, bind), 0);
  g.channels.notify_guest(port);
  EXPECT_TRUE(g.handle(0).empty());
  EXPECT_EQ(g.handle(1), Ports{port.raw()});
}

TEST(EventFifo, what_was_pending_before_its_word_existed_comes_with_the_word) {
  Guest early(1);
  const auto first = early.bind_ipi(1);
  ASSERT_EQ(early.port_op(EVTCHNOP_send, first), 0);
  evtchn_init_control args{100, 0, 1, 0, {}};
  ASSERT_EQ(early.call(EVTCHNOP_init_control, args), 0);
  const auto second = early.bind_ipi(1);
  ASSERT_EQ(early.port_op(EVTCHNOP_send, second), 0);
  EXPECT_FALSE(early.channels.is_pending(Port(second)));
  evtchn_expand_array expand{0};
  ASSERT_EQ(early.call(EVTCHNOP_expand_array, expand), 0);
  EXPECT_TRUE(early.channels.is_pending(Port(first)));
  EXPECT_TRUE(early.channels.is_pending(Port(second)));
  EXPECT_EQ(early.target.frames[100].shared().load<std::uint32_t>(0), 1U << 7);
  EXPECT_EQ(early.target.frames[100].shared().load<std::uint32_t>(8 + 7 * 4), first);
}

TEST(EventFifo, a_closed_ports_number_waits_until_it_is_in_no_queue) {
  FifoGuest g;
  const auto port = g.bind_ipi(0);
  EXPECT_EQ(g.send(port), 0);
  EXPECT_EQ(g.port_op(EVTCHNOP_close, port), 0);
  EXPECT_EQ(g.word(port) & pending, 0U);
  EXPECT_EQ(g.listen(0), port + 1);
  EXPECT_TRUE(g.handle(0).empty());
  EXPECT_EQ(g.listen(0), port);
}

TEST(EventFifo, a_word_that_says_linked_of_a_port_that_was_never_queued_is_not_believed) {
  FifoGuest g;
  for (std::uint32_t port = 1; port < 1024; ++port) g.set(port, linked);
  for (std::uint32_t port = 1; port < 1024; ++port) ASSERT_EQ(g.listen(0), port);
  for (std::uint32_t port = 1; port < 1024; ++port) ASSERT_EQ(g.port_op(EVTCHNOP_close, port), 0);
  EXPECT_EQ(g.listen(0), 1U);
}

TEST(EventFifo, a_vcpu_without_control_block_gets_nothing_and_nothing_breaks) {
  Guest g(1);
  evtchn_init_control args{100, 0, 0, 0, {}};
  ASSERT_EQ(g.call(EVTCHNOP_init_control, args), 0);
  evtchn_expand_array expand{0};
  ASSERT_EQ(g.call(EVTCHNOP_expand_array, expand), 0);
  const auto port = g.bind_ipi(1);
  EXPECT_EQ(g.port_op(EVTCHNOP_send, port), 0);
  EXPECT_TRUE(g.channels.is_pending(Port(port)));
  EXPECT_EQ(g.target.kicks[1], 0);
}

TEST(EventFifo, reset_gives_all_frames_back_and_the_two_level_abi) {
  FifoGuest g(3);
  const auto port = g.bind_ipi(0);
  EXPECT_EQ(g.send(port), 0);
  evtchn_reset reset{DOMID_SELF};
  EXPECT_EQ(g.call(EVTCHNOP_reset, reset), 0);
  EXPECT_EQ(g.target.frames_held(), 0);
  const auto again = g.bind_ipi(0);
  EXPECT_EQ(g.send(again), 0);
  EXPECT_TRUE(g.target.pending(again));
  EXPECT_FALSE(g.channels.is_valid(Port(4096)));
  EXPECT_EQ(g.expand(0), eopnotsupp);
}

// Every edge is handled or announced once no thread raises any more, while a vCPU handles, masks and unmasks.
TEST(EventFifo, no_edge_is_lost_between_senders_and_a_handling_guest) {
  FifoGuest g;
  std::vector<Port> ports;
  for (int i = 0; i < 50; ++i) {
    ports.push_back(g.channels.open_monitor_channel({}));
    ASSERT_EQ(g.set_priority(ports.back().raw(), static_cast<std::uint32_t>(i % 16)), 0);
  }
  std::atomic<int> running{2};
  auto sender = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 20000; ++i) g.channels.notify_guest(ports[random() % ports.size()]);
    --running;
  };
  std::thread one(sender, 1);
  std::thread two(sender, 2);
  std::mt19937 random(3);
  while (running != 0) {
    if (g.target.upcall_pending(VcpuId(0))) g.handle(0);
    const auto port = ports[random() % ports.size()].raw();
    g.set(port, masked);
    EXPECT_EQ(g.unmask(port), 0);
  }
  one.join();
  two.join();
  while (g.target.upcall_pending(VcpuId(0))) g.handle(0);
  for (const Port port : ports) EXPECT_EQ(g.word(port.raw()) & (pending | linked), 0U) << port.raw();
}

// The words say anything at any time: nothing is touched but words and control blocks, and every operation
// returns.
TEST(EventFifo, words_that_change_at_random_break_nothing_but_the_guests_own_events) {
  FifoGuest g;
  std::vector<Port> ports;
  for (int i = 0; i < 40; ++i) {
    ports.push_back(g.channels.open_monitor_channel({}));
    ASSERT_EQ(g.set_priority(ports.back().raw(), static_cast<std::uint32_t>(i % 3)), 0);
  }
  std::atomic<bool> running{true};
  std::thread garbler([&] {
    std::mt19937 random(5);
    while (running) {
      for (std::uint32_t port = 0; port < 64; ++port)
        g.words(port).store<event_word_t>(FifoGuest::at(port), static_cast<event_word_t>(random()));
      for (std::size_t i = 0; i < sizeof(evtchn_fifo_control_block); i += 4)
        g.control(0).store<std::uint32_t>(FifoGuest::block + i, static_cast<std::uint32_t>(random()));
    }
  });
  std::mt19937 random(6);
  for (int i = 0; i < 50000; ++i) {
    const Port port = ports[random() % ports.size()];
    switch (random() % 8) {
      case 0: (void)g.unmask(port.raw()); break;
      case 1: (void)g.set_priority(port.raw(), random() % 16); break;
      case 2: {
        evtchn_bind_vcpu bind{port.raw(), static_cast<std::uint32_t>(random() % 2)};
        (void)g.call(EVTCHNOP_bind_vcpu, bind);
        break;
      }
      case 3: {
        (void)g.port_op(EVTCHNOP_close, g.bind_ipi(0));
        break;
      }
      default: g.channels.notify_guest(port);
    }
  }
  running = false;
  garbler.join();
  for (std::size_t frame = 1; frame < FifoGuest::first_block_frame; ++frame)
    ASSERT_EQ(g.target.frames[frame].shared().load<std::uint64_t>(0), 0U) << frame;
  EXPECT_EQ(g.control(0).load<std::uint64_t>(0), 0U);
  // Set right again, it works again.
  for (std::uint32_t port = 0; port < 1024; ++port) g.words(port).store<event_word_t>(FifoGuest::at(port), 0);
  for (std::uint32_t vcpu = 0; vcpu < 2; ++vcpu)
    for (std::size_t i = 0; i < sizeof(evtchn_fifo_control_block); i += 4)
      g.control(vcpu).store<std::uint32_t>(FifoGuest::block + i, 0);
  const auto port = g.bind_ipi(1);
  EXPECT_EQ(g.send(port), 0);
  EXPECT_EQ(g.head(1, 7), port);
}

}  // namespace
}  // namespace pinfold::devices
