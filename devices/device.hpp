// One device of a guest, and the steps of its life.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "pvmmu/lock.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/hypercall.hpp"

namespace pinfold::devices {

/// The two rings that a guest finds through start_info (xen.h). It finds all others through xenstore.
struct BootRings {
  struct Ring {
    Mfn frame = no_mfn;  ///< Known when the guest's memory is built.
    Port port{0};        ///< Known when its device is attached.
  };
  Ring store, console;
};

/// A guest calls the steps of all its devices in this order: attach, start, quiesce, detach. Devices are
/// detached in the reverse of the order in which they were attached, also when a start() has failed. A step
/// that means nothing to a device does nothing.
///
/// Concurrency: one thread calls the steps. No vCPU runs before the last start() and after quiesce().
class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  /// The domain exists and its memory is empty: registers hypercalls, opens event channels, and sets its port
  /// in `rings` if it has one there.
  virtual void attach(vmm::HypercallTable& hypercalls, BootRings& rings) = 0;
  /// The guest's memory is built, and none of its tables is validated yet: a frame that is held now can't
  /// become a table. An error, in one line, means that the guest can't run.
  [[nodiscard]] virtual tl::expected<void, std::string> start(pvmmu::Held, const BootRings&) { return {}; }
  /// The guest has run for the last time: passes on what it left in the rings.
  virtual void quiesce() {}
  /// Releases every frame of the guest's. No other thread uses the device from here on.
  virtual void detach() {}
};

}  // namespace pinfold::devices
