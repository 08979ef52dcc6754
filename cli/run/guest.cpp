#include "cli/run/guest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "cli/run/driver_domains.hpp"
#include "cli/run/host.hpp"
#include "cli/run/quirks.hpp"
#include "devices/console_io.hpp"
#include "devices/xenstore/store_device.hpp"
#include "vmm/cpuid_native.hpp"

namespace pinfold::cli {

tl::expected<std::unique_ptr<Guest>, std::string> Guest::create(Host& host, DomId id,
                                                                const GuestConfig& config, GuestLinks links) {
  std::unique_ptr<Guest> guest(new Guest(config));
  guest->machine_ = &host.machine();
  vmm::DomainConfig of_domain;
  of_domain.id = id;
  of_domain.uuid = vmm::Uuid::parse(config.uuid.value_or("")).value_or(vmm::Uuid{});
  of_domain.frames = config.frames();
  of_domain.max_frames = config.max_frames();
  of_domain.vcpus = config.all_vcpus();
  of_domain.wall_offset_seconds = links.wall_offset_seconds;
  of_domain.processors = std::move(links.processors);
  of_domain.host = host.traits();
  if (links.debugged) of_domain.host.fast_paths = false;
  if (links.debugged || links.watches_each_update) of_domain.host.resident = false;
  of_domain.audit_interval = links.audit_interval;
  of_domain.trace = links.trace;
  auto domain = vmm::Domain::create(host.kvm(), host.machine(), of_domain);
  if (!domain) return tl::unexpected(domain.error());
  guest->domain_ = std::move(*domain);
  if (auto added = guest->add_devices(host, std::move(links)); !added) return tl::unexpected(added.error());
  // Now, so that no guest is its own backend.
  guest->name_ = DomainNames::Entry(host.domain_names(), config.name, id);
  return guest;
}

template <class D, class... Args>
D& Guest::add_device(Args&&... args) {
  auto device = std::make_unique<D>(std::forward<Args>(args)...);
  device->attach(domain_->hypercalls(), rings_);
  D& added = *device;
  devices_.push_back(std::move(device));
  return added;
}

tl::expected<void, std::string> Guest::add_devices(Host& host, GuestLinks links) {
  const DomId id = domain_->id();
  auto& events = add_device<devices::EventChannels>(id, *domain_, host.event_switch());
  domain_->set_events(&events);
  auto& grants = add_device<devices::GrantTable>(
      id, domain_->shared_frames(), domain_->granted_frames(),
      devices::GrantTable::Limits{config_.max_grant_frames, config_.max_maptrack_frames},
      devices::GrantTable::Machine{host.grants(), domain_->frame_holder(vmm::FrameHolds::For::neighbour),
                                   domain_->frame_receiver()});
  grants_ = &grants;
  add_device<devices::ConsoleIo>(config_.early_console ? links.console_output : devices::ConsoleSink{});
  devices::xenstore::DomainNodes nodes;
  nodes.domain = id;
  nodes.name = config_.name;
  nodes.uuid = domain_->config().uuid.text();
  nodes.memory_kib = config_.memory_bytes / 1024;
  nodes.max_memory_kib = config_.max_frames() * (page_size / 1024);
  nodes.vcpus = config_.vcpus;
  nodes.max_vcpus = config_.all_vcpus();
  add_device<devices::xenstore::StoreDevice>(host.store(), events, *domain_, std::move(nodes));
  console_ = &add_device<devices::ConsoleDevice>(events, *domain_, std::move(links.console_output));
  auto& bus = add_device<devices::xenbus::Bus>(host.store());
  bus_ = &bus;
  const devices::block::DiskLinks to_guest{events,
                                           grants.entries(),
                                           [&d = *domain_] { return d.frame_holder(); },
                                           [waker = bus.waker()] { waker->wake(); },
                                           nullptr,
                                           !config_.driver_domain};
  const DriverDomains driver_domains{host.store(), host.domain_names()};
  auto hot_plug =
      HotPlug::make(bus, id, to_guest, driver_domains, {host.mac_addresses(), config_.name, config_.vifs});
  if (!hot_plug) return tl::unexpected(hot_plug.error());
  hot_plug_ = std::move(*hot_plug);
  if (auto added = add_disks(bus, config_, std::move(links.images), id, to_guest); !added) return added;
  if (auto added = add_devices_of_driver_domains(bus, driver_domains, config_, id); !added) return added;
  const auto added = add_interfaces(bus, config_, std::move(links.wirings), id,
                                    {to_guest.events, to_guest.grants, to_guest.frame_holder,
                                     to_guest.wake_bus, nullptr, to_guest.trusted});
  hot_plug_->configured();
  return added;
}

tl::expected<void, std::string> Guest::build(const loader::KernelImage& kernel,
                                             std::span<const std::byte> initrd) {
  vmm::Domain& d = *domain_;
  QuirkedCommandLine command_line{config_.command_line, {}};
  if (config_.quirks)
    command_line = with_quirks(config_.command_line, quirks_of(kernel, vmm::native_cpuid()));
  for (const std::string& notice : command_line.notices) fmt::print(stderr, "pinfold: {}\n", notice);
  const loader::DomainPlan plan{
      kernel,
      initrd,
      command_line.text,
      d.frames(),
      loader::MachineMemory(machine_->pages().page(0), machine_->frames().size(), machine_->file().get()),
      d.shared_info_frame(),
      rings_.store.port,
      rings_.console.port,
      0};
  const auto built = loader::build_domain(plan);
  if (!built) return tl::unexpected(built.error().message);
  rings_.store.frame = built->xenstore_ring;
  rings_.console.frame = built->console_ring;
  {
    // Before the tables are validated: no table of the guest's, the initial ones included, gets at a ring.
    const pvmmu::DomainLock lock(d.mutex());
    for (const auto& device : devices_)
      if (auto started = device->start(lock, rings_); !started) return started;
  }
  return d.adopt(built->l4, built->entry, built->stack_top, built->start_info);
}

void Guest::quiesce() {
  for (const auto& device : devices_) device->quiesce();
}

std::vector<devices::xenbus::DeviceCounts> Guest::device_counts() const {
  return bus_ == nullptr ? std::vector<devices::xenbus::DeviceCounts>{} : bus_->counts();
}

void Guest::detach_devices() {
  if (devices_.empty()) return;
  name_ = {};
  if (hot_plug_) hot_plug_->stop();
  // Not views::reverse: clang 14 does not understand libstdc++'s.
  std::for_each(devices_.rbegin(), devices_.rend(), [](const auto& device) { device->detach(); });
  domain_->set_events(nullptr);
  console_ = nullptr;
  bus_ = nullptr;
  grants_ = nullptr;
  while (!devices_.empty()) devices_.pop_back();
}

vmm::Domain::Leftovers Guest::tear_down(bool audit) {
  detach_devices();
  return domain_->tear_down(audit);
}

}  // namespace pinfold::cli
