// A guest with all that belongs to it, put together in the order that the parts need each other.
#pragma once

#include <memory>

#include "devices/console.hpp"
#include "devices/console_io.hpp"
#include "devices/event_channels.hpp"
#include "devices/grant_table.hpp"
#include "devices/xenstore/connection.hpp"
#include "devices/xenstore/store.hpp"
#include "loader/domain_builder.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

struct GuestParts {
  std::string name;
  std::uint64_t frames = 0;  ///< Memory in 4 KiB frames.
  vmm::Uuid uuid;
  std::uint32_t vcpus = 1;
  vmm::HostTraits host;
  std::uint64_t audit_interval = 0;
  devices::ConsoleSink console_output;
  bool early_console = false;
  pvmmu::TraceSink* trace = nullptr;  ///< Outlives the guest.
};

/// The machine, one domain, its devices. Built in two steps: `create` makes the empty domain, `build` loads
/// the kernel.
class Guest {
 public:
  [[nodiscard]] static tl::expected<std::unique_ptr<Guest>, std::string> create(const vmm::Kvm& kvm,
                                                                                GuestParts parts);

  /// Writes kernel, initrd and tables into the domain and has them validated. An error is a bad image or
  /// configuration.
  [[nodiscard]] tl::expected<void, std::string> build(const loader::KernelImage& kernel,
                                                      std::span<const std::byte> initrd,
                                                      std::string_view command_line);

  [[nodiscard]] vmm::Domain& domain() { return *domain_; }
  /// Ends the devices, then the domain: after its run, when no other thread uses this guest any more.
  [[nodiscard]] vmm::Domain::Leftovers tear_down(bool audit);
  /// Hands on what the guest has written to its console: when there is room for more, and after its end.
  void drain_console();
  /// Types on the guest's console; how many bytes were taken.
  std::size_t type(std::span<const std::byte> bytes);

 private:
  /// Holds a device's ring for as long as the device has it; the refusal's words, which name `what`.
  [[nodiscard]] tl::expected<vmm::SharedPage, std::string> hold_ring(Mfn frame, const char* what);

  explicit Guest(GuestParts parts)
      : parts_(std::move(parts)),
        console_io_(parts_.early_console ? parts_.console_output : devices::ConsoleSink{}) {}

  GuestParts parts_;
  std::unique_ptr<vmm::Machine> machine_;
  std::unique_ptr<vmm::Domain> domain_;
  std::unique_ptr<devices::EventChannels> events_;
  std::unique_ptr<devices::GrantTable> grants_;
  devices::ConsoleIo console_io_;
  std::unique_ptr<devices::Console> console_;
  std::shared_ptr<devices::xenstore::Store> store_;
  std::shared_ptr<devices::xenstore::Connection> store_connection_;
  Port console_port_;
  Port store_port_;
};

}  // namespace pinfold::cli
