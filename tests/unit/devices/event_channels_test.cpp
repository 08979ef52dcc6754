#include "devices/event_channels.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "event_guest.hpp"

namespace pinfold::devices {
namespace {

TEST(EventChannels, port_zero_never_opens_and_the_lowest_free_port_comes_first) {
  Guest g(1);
  EXPECT_EQ(g.listen(0), 1u);
  EXPECT_EQ(g.listen(0), 2u);
  EXPECT_EQ(g.port_op(EVTCHNOP_close, 1), 0);
  EXPECT_EQ(g.listen(0), 1u);
  EXPECT_EQ(g.port_op(EVTCHNOP_close, 0), einval);
  EXPECT_EQ(g.port_op(EVTCHNOP_send, 0), einval);
}

TEST(EventChannels, a_full_table_is_enospc_and_monitor_channels_get_port_zero) {
  Guest g(1, nullptr, 4);
  for (int i = 0; i < 3; ++i) g.listen(0);
  evtchn_alloc_unbound more{DOMID_SELF, 0, 0};
  EXPECT_EQ(g.call(EVTCHNOP_alloc_unbound, more), enospc);
  EXPECT_EQ(g.bind_virq(VIRQ_TIMER, 0), enospc);
  EXPECT_EQ(g.bind_virq(VIRQ_TIMER, 0), enospc) << "a failed bind must not leave the VIRQ bound";
  EXPECT_EQ(g.channels.open_monitor_channel({}), Port(0));
  EXPECT_FALSE(g.channels.is_valid(Port(4)));
}

TEST(EventChannels, a_failed_bind_changes_nothing_for_a_neighbour) {
  auto network = std::make_shared<EventSwitch>();
  Guest full(1, network, 4), neighbour(2, network);
  std::uint32_t port = 0;
  ASSERT_EQ(neighbour.bind_virq(VIRQ_TIMER, 0, &port), 0);
  for (int i = 0; i < 3; ++i) full.listen(0);
  for (const std::uint32_t virq : {VIRQ_TIMER, VIRQ_DEBUG}) EXPECT_EQ(full.bind_virq(virq, 0), enospc);
  full.channels.raise_virq(VcpuId(0), VIRQ_TIMER);
  EXPECT_FALSE(neighbour.target.pending(port));
  neighbour.channels.raise_virq(VcpuId(0), VIRQ_TIMER);
  EXPECT_TRUE(neighbour.target.pending(port));
}

TEST(EventChannels, the_whole_table_of_the_abi_is_usable_and_no_more) {
  Guest g(1);
  for (std::uint32_t i = 1; i < 4096; ++i) ASSERT_EQ(g.listen(0), i);
  evtchn_alloc_unbound more{DOMID_SELF, 0, 0};
  EXPECT_EQ(g.call(EVTCHNOP_alloc_unbound, more), enospc);
  EXPECT_TRUE(g.channels.is_valid(Port(4095)));
  EXPECT_FALSE(g.channels.is_valid(Port(4096)));
}

TEST(EventChannels, a_first_event_sets_pending_selector_and_upcall_and_kicks_once) {
  Guest g(1);
  std::uint32_t port = 0;
  ASSERT_EQ(g.bind_virq(VIRQ_TIMER, 1, &port), 0);
  g.channels.raise_virq(VcpuId(1), VIRQ_TIMER);
  EXPECT_TRUE(g.target.pending(port));
  EXPECT_TRUE(g.target.upcall_pending(VcpuId(1)));
  EXPECT_EQ(g.target.selector(VcpuId(1)), 1u);
  EXPECT_EQ(g.target.kicks[1], 1);
  g.channels.raise_virq(VcpuId(1), VIRQ_TIMER);
  EXPECT_EQ(g.target.kicks[1], 1);
  EXPECT_FALSE(g.target.upcall_pending(VcpuId(0)));
}

TEST(EventChannels, a_masked_port_loses_its_edge_until_it_is_unmasked) {
  Guest g(1);
  const auto port = g.bind_ipi(0);
  g.target.mask(port);
  EXPECT_EQ(g.port_op(EVTCHNOP_send, port), 0);
  EXPECT_TRUE(g.target.pending(port));
  EXPECT_TRUE(g.channels.is_pending(Port(port)));
  EXPECT_FALSE(g.target.upcall_pending(VcpuId(0)));
  EXPECT_EQ(g.target.selector(VcpuId(0)), 0u);
  EXPECT_EQ(g.target.kicks[0], 0);
  EXPECT_EQ(g.target.poller_wakes, 1) << "a vCPU may poll for a masked port";
  EXPECT_EQ(g.port_op(EVTCHNOP_unmask, port), 0);
  EXPECT_TRUE(g.target.upcall_pending(VcpuId(0)));
  EXPECT_EQ(g.target.kicks[0], 1);
  EXPECT_EQ(g.port_op(EVTCHNOP_unmask, port), 0);
  EXPECT_EQ(g.target.kicks[0], 1);
}

TEST(EventChannels, virq_binding_errors_are_xens) {
  Guest g(1);
  EXPECT_EQ(g.bind_virq(NR_VIRQS, 0), einval);
  EXPECT_EQ(g.bind_virq(0xffffffff, 0), einval);
  EXPECT_EQ(g.bind_virq(VIRQ_TIMER, 2), enoent);
  EXPECT_EQ(g.bind_virq(VIRQ_CONSOLE, 1), einval);
  EXPECT_EQ(g.bind_virq(VIRQ_CONSOLE, 0), ebusy);
  EXPECT_EQ(g.bind_virq(VIRQ_DEBUG, 0), 0);
  EXPECT_EQ(g.bind_virq(VIRQ_DEBUG, 0), eexist);
  EXPECT_EQ(g.bind_virq(VIRQ_DEBUG, 1), 0);
}

TEST(EventChannels, a_closed_virq_can_be_bound_again_and_is_dropped_in_between) {
  Guest g(1);
  std::uint32_t port = 0;
  ASSERT_EQ(g.bind_virq(VIRQ_TIMER, 0, &port), 0);
  ASSERT_EQ(g.port_op(EVTCHNOP_close, port), 0);
  g.channels.raise_virq(VcpuId(0), VIRQ_TIMER);
  EXPECT_FALSE(g.target.pending(port));
  EXPECT_EQ(g.bind_virq(VIRQ_TIMER, 0), 0);
}

TEST(EventChannels, closing_clears_the_pending_bit_for_the_next_owner_of_the_number) {
  Guest g(1);
  const auto port = g.bind_ipi(1);
  ASSERT_EQ(g.port_op(EVTCHNOP_send, port), 0);
  ASSERT_EQ(g.port_op(EVTCHNOP_close, port), 0);
  EXPECT_FALSE(g.target.pending(port));
  EXPECT_EQ(g.listen(0), port);
  EXPECT_EQ(g.status(port).vcpu, 0u);
}

TEST(EventChannels, a_loopback_connects_both_ends_and_always_starts_pending) {
  Guest g(5);
  const auto theirs = g.listen(DOMID_SELF);
  evtchn_bind_interdomain bind{DOMID_SELF, theirs, 0};
  ASSERT_EQ(g.call(EVTCHNOP_bind_interdomain, bind), 0);
  EXPECT_TRUE(g.target.pending(bind.local_port));
  EXPECT_FALSE(g.target.pending(theirs));
  EXPECT_EQ(g.port_op(EVTCHNOP_send, bind.local_port), 0);
  EXPECT_TRUE(g.target.pending(theirs));
  const auto s = g.status(theirs);
  EXPECT_EQ(s.status, unsigned{EVTCHNSTAT_interdomain});
  EXPECT_EQ(s.u.interdomain.dom, 5);
  EXPECT_EQ(s.u.interdomain.port, bind.local_port);
  ASSERT_EQ(g.port_op(EVTCHNOP_close, bind.local_port), 0);
  EXPECT_EQ(g.status(theirs).status, unsigned{EVTCHNSTAT_unbound});
}

TEST(EventChannels, bind_interdomain_takes_only_a_port_that_waits_for_the_caller) {
  Guest g(5);
  const auto for_other = g.listen(9);
  const auto ipi = g.bind_ipi(0);
  evtchn_bind_interdomain bind{DOMID_SELF, for_other, 0};
  EXPECT_EQ(g.call(EVTCHNOP_bind_interdomain, bind), einval);
  bind.remote_port = ipi;
  EXPECT_EQ(g.call(EVTCHNOP_bind_interdomain, bind), einval);
  bind.remote_port = 77777;
  EXPECT_EQ(g.call(EVTCHNOP_bind_interdomain, bind), einval);
  bind.remote_dom = 6;
  EXPECT_EQ(g.call(EVTCHNOP_bind_interdomain, bind), esrch);
}

TEST(EventChannels, two_domains_on_one_switch_talk_and_a_dead_peer_leaves_an_unbound_port) {
  auto network = std::make_shared<EventSwitch>();
  Guest a(1, network);
  std::uint32_t port = 0;
  {
    Guest b(2, network);
    port = a.listen(2);
    EXPECT_EQ(a.port_op(EVTCHNOP_send, port), 0) << "sent to nobody: dropped";
    evtchn_bind_interdomain bind{1, port, 0};
    ASSERT_EQ(b.call(EVTCHNOP_bind_interdomain, bind), 0);
    EXPECT_TRUE(b.target.pending(bind.local_port));
    EXPECT_EQ(b.port_op(EVTCHNOP_send, bind.local_port), 0);
    EXPECT_TRUE(a.target.pending(port));
    EXPECT_EQ(a.target.kicks[0], 1);
    evtchn_alloc_unbound foreign{2, 1, 0};
    EXPECT_EQ(a.call(EVTCHNOP_alloc_unbound, foreign), eperm);
    foreign.dom = 3;
    EXPECT_EQ(a.call(EVTCHNOP_alloc_unbound, foreign), esrch);
  }
  EXPECT_EQ(a.status(port).status, unsigned{EVTCHNSTAT_unbound});
  EXPECT_EQ(a.status(port).u.unbound.dom, 2);
  EXPECT_EQ(a.port_op(EVTCHNOP_send, port), 0);
}

TEST(EventChannels, a_domain_that_left_is_found_by_no_neighbour) {
  auto network = std::make_shared<EventSwitch>();
  Guest leaves(1, network), stays(2, network);
  const auto port = leaves.listen(2);
  leaves.channels.detach();
  evtchn_bind_interdomain bind{1, port, 0};
  EXPECT_EQ(stays.call(EVTCHNOP_bind_interdomain, bind), esrch);
  // The next domain with its number is another one.
  Guest next(1, network);
  EXPECT_EQ(stays.call(EVTCHNOP_bind_interdomain, bind), einval);
}

TEST(EventChannels, either_side_may_close_and_connect_again) {
  auto network = std::make_shared<EventSwitch>();
  Guest a(1, network), b(2, network);
  const auto port = a.listen(2);
  evtchn_bind_interdomain bind{1, port, 0};
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(b.call(EVTCHNOP_bind_interdomain, bind), 0);
    EXPECT_EQ(b.status(bind.local_port).u.interdomain.port, port);
    evtchn_bind_interdomain again{1, port, 0};
    EXPECT_EQ(b.call(EVTCHNOP_bind_interdomain, again), einval) << "it waits for nobody now";
    EXPECT_EQ(b.port_op(EVTCHNOP_close, bind.local_port), 0);
    const auto s = a.status(port);
    EXPECT_EQ(s.status, unsigned{EVTCHNSTAT_unbound});
    EXPECT_EQ(s.u.unbound.dom, 2);
  }
  ASSERT_EQ(b.call(EVTCHNOP_bind_interdomain, bind), 0);
  EXPECT_EQ(a.port_op(EVTCHNOP_close, port), 0);
  EXPECT_EQ(b.status(bind.local_port).status, unsigned{EVTCHNSTAT_unbound});
  EXPECT_EQ(b.status(bind.local_port).u.unbound.dom, 1);
  EXPECT_EQ(b.port_op(EVTCHNOP_send, bind.local_port), 0) << "dropped";
}

TEST(EventChannels, a_full_table_is_enospc_whatever_port_is_named) {
  auto network = std::make_shared<EventSwitch>();
  Guest full(1, network, 4), other(2, network);
  const auto port = other.listen(1);
  for (int i = 0; i < 3; ++i) full.listen(0);
  for (const std::uint32_t named : {port, port + 1, ~0u}) {
    evtchn_bind_interdomain bind{2, named, 0};
    EXPECT_EQ(full.call(EVTCHNOP_bind_interdomain, bind), enospc) << named;
  }
  EXPECT_EQ(full.port_op(EVTCHNOP_close, 1), 0);
  evtchn_bind_interdomain bind{2, port + 1, 0};
  EXPECT_EQ(full.call(EVTCHNOP_bind_interdomain, bind), einval);
  EXPECT_EQ(full.listen(0), 1u) << "a refused bind takes no port";
}

TEST(EventChannels, bind_vcpu_moves_what_may_move) {
  Guest g(1);
  std::uint32_t timer = 0;
  ASSERT_EQ(g.bind_virq(VIRQ_TIMER, 0, &timer), 0);
  const auto ipi = g.bind_ipi(0);
  const Port monitor = g.channels.open_monitor_channel({});
  evtchn_bind_vcpu args{timer, 1};
  EXPECT_EQ(g.call(EVTCHNOP_bind_vcpu, args), einval);
  args = {ipi, 1};
  EXPECT_EQ(g.call(EVTCHNOP_bind_vcpu, args), einval);
  args = {monitor.raw(), 2};
  EXPECT_EQ(g.call(EVTCHNOP_bind_vcpu, args), enoent);
  args = {monitor.raw(), 1};
  EXPECT_EQ(g.call(EVTCHNOP_bind_vcpu, args), 0);
  g.channels.notify_guest(monitor);
  EXPECT_EQ(g.target.kicks[0], 0);
  EXPECT_EQ(g.target.kicks[1], 1);
}

TEST(EventChannels, a_send_on_a_monitor_channel_runs_the_callback_without_a_lock) {
  Guest g(1);
  int sends = 0;
  Port port;
  port = g.channels.open_monitor_channel([&](vmm::Hypercall&) {
    ++sends;
    g.channels.notify_guest(port);  // would not return if a lock were held
    return Served::all;
  });
  EXPECT_EQ(g.port_op(EVTCHNOP_send, port.raw()), 0);
  EXPECT_EQ(sends, 1);
  EXPECT_TRUE(g.target.pending(port.raw()));
  EXPECT_EQ(g.status(port.raw()).status, unsigned{EVTCHNSTAT_interdomain});
}

TEST(EventChannels, a_reset_closes_all_ports_in_pieces_and_goes_on_where_it_stopped) {
  Guest g(1);
  constexpr std::uint32_t ports = 1000;
  for (std::uint32_t i = 0; i < ports; ++i) (void)g.bind_ipi(i % 2);
  ASSERT_TRUE(g.memory.store(GuestVaddr(FakeMemory::base), evtchn_reset{DOMID_SELF}));
  int calls = 0;
  for (bool again = true; again && calls < 100; ++calls) {
    pvmmu::Budget budget(102);
    vmm::Hypercall call{VcpuId(0), 32, {EVTCHNOP_reset, FakeMemory::base}, g.memory};
    call.budget = &budget;
    EXPECT_EQ(g.channels.event_channel_op(call), 0);
    EXPECT_TRUE(budget.used_up() || call.completion == vmm::Completion::result);
    again = call.completion == vmm::Completion::restart;
  }
  EXPECT_EQ(calls, 10);
  EXPECT_EQ(g.status(1).status, unsigned{EVTCHNSTAT_closed});
  EXPECT_EQ(g.bind_ipi(0), 1U);
}

TEST(EventChannels, the_monitor_cannot_raise_a_port_that_is_not_its_own) {
  Guest g(1);
  const Port port = g.channels.open_monitor_channel({});
  ASSERT_EQ(g.port_op(EVTCHNOP_close, port.raw()), 0);
  ASSERT_EQ(g.bind_ipi(0), port.raw());
  g.channels.notify_guest(port);
  g.channels.notify_guest(Port(4096));
  EXPECT_FALSE(g.target.pending(port.raw()));
}

TEST(EventChannels, a_guest_cannot_send_on_a_virq) {
  Guest g(1);
  std::uint32_t port = 0;
  ASSERT_EQ(g.bind_virq(VIRQ_TIMER, 0, &port), 0);
  EXPECT_EQ(g.port_op(EVTCHNOP_send, port), einval);
}

TEST(EventChannels, reset_closes_everything_of_the_caller_only) {
  Guest g(1);
  const auto port = g.bind_ipi(0);
  evtchn_reset args{7};
  EXPECT_EQ(g.call(EVTCHNOP_reset, args), esrch);
  args.dom = DOMID_SELF;
  EXPECT_EQ(g.call(EVTCHNOP_reset, args), 0);
  EXPECT_EQ(g.status(port).status, unsigned{EVTCHNSTAT_closed});
}

TEST(EventChannels, every_operation_on_unreadable_memory_is_efault_and_unknown_ones_enosys) {
  Guest g(1);
  for (std::uint64_t op = 0; op <= 13; ++op) {
    EXPECT_EQ(g.call_at(op, 8), efault) << op;
  }
  EXPECT_EQ(g.call_at(14, FakeMemory::base), enosys);
  EXPECT_EQ(g.call_at(~0ULL, FakeMemory::base), enosys);
}

TEST(EventChannels, a_moved_vcpu_info_has_every_selector_set_and_gets_later_events) {
  Guest g(1);
  const auto port = g.bind_ipi(1);
  FakePage page;
  g.target.moved = VcpuId(1);
  g.target.moved_to = &page;
  g.channels.vcpu_info_moved(VcpuId(1));
  EXPECT_EQ(g.target.selector(VcpuId(1)), ~0ULL);
  EXPECT_TRUE(g.target.upcall_pending(VcpuId(1)));
  EXPECT_EQ(g.target.kicks[1], 1);
  g.target.handle_upcall(VcpuId(1));
  ASSERT_EQ(g.port_op(EVTCHNOP_send, port), 0);
  EXPECT_EQ(g.target.selector(VcpuId(1)), 1u);
  EXPECT_EQ(g.target.info.shared().load<std::uint8_t>(64), 0);
}

// No edge may be lost: when no thread raises any more, everything raised and unmasked is either handled or
// announced.
TEST(EventChannels, no_edge_is_lost_between_senders_and_a_handling_guest) {
  Guest g(1);
  std::vector<Port> ports;
  for (int i = 0; i < 200; ++i) ports.push_back(g.channels.open_monitor_channel({}));
  g.channels.notify_guest(ports[0]);
  std::atomic<int> running{2};
  auto sender = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 20000; ++i) g.channels.notify_guest(ports[random() % ports.size()]);
    --running;
  };
  std::thread one(sender, 1);
  std::thread two(sender, 2);
  while (running != 0) {
    if (g.target.upcall_pending(VcpuId(0))) g.target.handle_upcall(VcpuId(0));
  }
  one.join();
  two.join();
  while (g.target.upcall_pending(VcpuId(0))) g.target.handle_upcall(VcpuId(0));
  for (const Port port : ports) EXPECT_FALSE(g.target.pending(port.raw())) << port.raw();
}

}  // namespace
}  // namespace pinfold::devices
