// A guest: its domain, its devices, its console.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/config/guest_config.hpp"
#include "cli/hotplug/hot_plug.hpp"
#include "cli/run/disks.hpp"
#include "cli/run/domain_names.hpp"
#include "cli/run/interfaces.hpp"
#include "devices/console_device.hpp"
#include "devices/device.hpp"
#include "devices/grant_table.hpp"
#include "devices/xenbus/bus.hpp"
#include "loader/domain_builder.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

class Host;

/// What a guest is connected to in this process, besides its configuration.
struct GuestLinks {
  devices::ConsoleSink console_output;
  DiskImages images;                  ///< One for each disk of the configuration.
  Wirings wirings;                    ///< One for each interface of the configuration.
  pvmmu::TraceSink* trace = nullptr;  ///< Outlives the guest.
  bool debugged = false;              ///< Its gate passes every trap on, for a debugger.
  /// The monitor has to see each page-table update: the gate finishes none.
  bool watches_each_update = false;
  std::uint64_t audit_interval = 0;         ///< MMU hypercalls between two audits; 0: none but the last.
  std::int64_t wall_offset_seconds = 0;     ///< How far the guest's wall clock is ahead of UTC.
  std::vector<vmm::Processors> processors;  ///< Of the host, for each vCPU; empty: any.
};

/// One guest, from the empty domain to its end: Host::make_guest, then `build`, then the domain runs, then
/// `quiesce`, then `tear_down`.
class Guest {
 public:
  ~Guest() { detach_devices(); }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  /// Writes kernel, initrd and tables into the domain, starts the devices and has the tables validated. An
  /// error means a bad image or configuration.
  [[nodiscard]] tl::expected<void, std::string> build(const loader::KernelImage& kernel,
                                                      std::span<const std::byte> initrd);

  [[nodiscard]] const GuestConfig& config() const { return config_; }
  [[nodiscard]] vmm::Domain& domain() { return *domain_; }
  /// Until the guest is destroyed; nothing is attached after quiesce().
  [[nodiscard]] HotPlug& hot_plug() { return *hot_plug_; }
  /// Until tear_down().
  [[nodiscard]] devices::GrantTable& grants() { return *grants_; }
  /// Between build() and tear_down().
  [[nodiscard]] devices::ConsoleDevice& console() { return *console_; }
  /// What each of its devices did; between build() and tear_down().
  [[nodiscard]] std::vector<devices::xenbus::DeviceCounts> device_counts() const;
  /// After the domain's run: passes on what the guest left in its devices' rings.
  void quiesce();
  /// After quiesce(): lets go of the host's files that backends use, such as disk images.
  void release_backends() { bus_->detach(); }
  /// Detaches the devices, then ends the domain, when no other thread uses this guest any more.
  [[nodiscard]] vmm::Domain::Leftovers tear_down(bool audit);

 private:
  friend class Host;
  [[nodiscard]] static tl::expected<std::unique_ptr<Guest>, std::string> create(Host& host, DomId id,
                                                                                const GuestConfig& config,
                                                                                GuestLinks links);
  explicit Guest(GuestConfig config) : config_(std::move(config)) {}

  void detach_devices();
  [[nodiscard]] tl::expected<void, std::string> add_devices(Host& host, GuestLinks links);
  template <class D, class... Args>
  D& add_device(Args&&... args);

  GuestConfig config_;
  vmm::Machine* machine_ = nullptr;
  std::unique_ptr<vmm::Domain> domain_;
  devices::BootRings rings_;
  /// In the order in which they are attached: a device uses only those before it.
  std::vector<std::unique_ptr<devices::Device>> devices_;
  DomainNames::Entry name_;
  devices::ConsoleDevice* console_ = nullptr;  ///< One of them.
  devices::xenbus::Bus* bus_ = nullptr;        ///< One of them.
  devices::GrantTable* grants_ = nullptr;      ///< One of them.
  std::unique_ptr<HotPlug> hot_plug_;
};

}  // namespace pinfold::cli
