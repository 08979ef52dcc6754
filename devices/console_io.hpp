// Hypercall 18, console_io: the hypervisor's own console, which a guest may use only with --early-console.
#pragma once

#include <cstdint>

#include "devices/console.hpp"
#include "devices/device.hpp"
#include "vmm/for_devices/hypercall.hpp"

namespace pinfold::devices {

/// Without a sink it answers as a release build of Xen does to a domU: -EPERM to everything. With one ("debug
/// console", for what a kernel prints before its console driver runs) CONSOLEIO_write prints, and
/// CONSOLEIO_read finds no input. While the sink takes nothing, the guest repeats the hypercall. Called in
/// the hypercall, with the domain's lock held.
class ConsoleIo final : public Device {
 public:
  /// The most that one write may print, in bytes; more is -E2BIG.
  static constexpr std::uint32_t write_limit = 64 * 1024;

  explicit ConsoleIo(ConsoleSink debug_console = {}) : sink_(std::move(debug_console)) {}

  void register_with(vmm::HypercallTable& table);
  void attach(vmm::HypercallTable& hypercalls, BootRings&) override { register_with(hypercalls); }
  /// RDI the command, RSI the count, RDX the buffer (xen.h, CONSOLEIO_*).
  std::int64_t console_io(vmm::Hypercall& call);

 private:
  std::int64_t write(vmm::Hypercall& call, std::uint32_t count);

  ConsoleSink sink_;
};

}  // namespace pinfold::devices
