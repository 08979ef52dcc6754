// A port of a fuzzed guest's, for its backend.
#pragma once

#include <memory>

#include "devices/event_channels.hpp"
#include "fakes.hpp"
#include "input.hpp"

namespace pinfold::fuzz {

/// The backend's end of a port that the guest has opened for it.
inline std::unique_ptr<devices::MonitorEnd> monitor_port(devices::EventChannels& channels) {
  devices::FakeMemory memory;
  evtchn_alloc_unbound args{DOMID_SELF, 0, 0};
  (void)memory.store(GuestVaddr(devices::FakeMemory::base), args);
  vmm::Hypercall call{
      VcpuId(0), __HYPERVISOR_event_channel_op, {EVTCHNOP_alloc_unbound, devices::FakeMemory::base}, memory};
  promise(channels.event_channel_op(call) == 0, "a port can be opened");
  const Port port(memory.fetch<evtchn_alloc_unbound>(GuestVaddr(devices::FakeMemory::base))->port);
  return std::move(
      *channels.bind_monitor_channel(port, [](vmm::Hypercall&) { return devices::Served::all; }));
}

}  // namespace pinfold::fuzz
