// A domain that makes event-channel hypercalls, for the tests of both ABIs.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>

#include "devices/event_channels.hpp"
#include "fakes.hpp"

namespace pinfold::devices {

constexpr std::int64_t eperm = -1, enoent = -2, esrch = -3, efault = -14, ebusy = -16, eexist = -17,
                       einval = -22, enospc = -28, enosys = -38, eopnotsupp = -95;

/// A domain of two vCPUs that makes event-channel hypercalls.
class Guest {
 public:
  explicit Guest(std::uint16_t id, std::shared_ptr<EventSwitch> network = nullptr,
                 std::uint32_t limit = EventFifo::ports)
      : channels(DomId(id), target, std::move(network), limit) {}

  template <class Args>
  std::int64_t call(std::uint64_t op, Args& args) {
    (void)memory.store(GuestVaddr(FakeMemory::base), args);
    const auto rax = call_at(op, FakeMemory::base);
    args = *memory.fetch<Args>(GuestVaddr(FakeMemory::base));
    return rax;
  }
  std::int64_t call_at(std::uint64_t op, std::uint64_t address) {
    vmm::Hypercall hypercall{VcpuId(0), 32, {op, address}, memory, &lock.held};
    return channels.event_channel_op(hypercall);
  }

  std::uint32_t listen(std::uint16_t remote) {
    evtchn_alloc_unbound args{DOMID_SELF, remote, 0};
    EXPECT_EQ(call(EVTCHNOP_alloc_unbound, args), 0);
    return args.port;
  }
  std::int64_t bind_virq(std::uint32_t virq, std::uint32_t vcpu, std::uint32_t* port = nullptr) {
    evtchn_bind_virq args{virq, vcpu, 0};
    const auto rax = call(EVTCHNOP_bind_virq, args);
    if (port != nullptr) *port = args.port;
    return rax;
  }
  std::uint32_t bind_ipi(std::uint32_t vcpu) {
    evtchn_bind_ipi args{vcpu, 0};
    EXPECT_EQ(call(EVTCHNOP_bind_ipi, args), 0);
    return args.port;
  }
  std::int64_t port_op(std::uint64_t op, std::uint32_t port) {
    evtchn_send args{port};
    return call(op, args);
  }
  evtchn_status_t status(std::uint32_t port) {
    evtchn_status args{};
    args.dom = DOMID_SELF;
    args.port = port;
    EXPECT_EQ(call(EVTCHNOP_status, args), 0);
    return args;
  }

  FakeTarget target{2};
  FakeMemory memory;
  FakeLock lock;
  EventChannels channels;
};

}  // namespace pinfold::devices
