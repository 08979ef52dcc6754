#include "cli/run/host.hpp"

#include "vmm/host/probe.hpp"

namespace pinfold::cli {
tl::expected<std::unique_ptr<Host>, std::string> Host::open(const HostOptions& options) {
  auto kvm = vmm::Kvm::open(options.kvm_device.c_str());
  if (!kvm) return tl::unexpected(kvm.error().message);
  std::unique_ptr<Host> host(new Host(std::move(*kvm)));
  const auto facts = vmm::probe(host->kvm_);
  if (!facts) return tl::unexpected(facts.error().message);
  if (const char* objection = vmm::objection_to(*facts); objection != nullptr)
    return tl::unexpected(std::string(objection));
  host->traits_ = vmm::traits_of(*facts);
  if (options.write_protection) host->traits_.protection = *options.write_protection;
  if (options.plain_gate) host->traits_.fast_paths = false;

  // Frame 0 is nobody's.
  auto machine = vmm::Machine::create(1, pvmmu::first_monitor_frame.raw());
  if (!machine) return tl::unexpected(machine.error().message);
  host->machine_ = std::move(*machine);
  return host;
}

tl::expected<std::unique_ptr<Guest>, std::string> Host::make_guest(const GuestConfig& config,
                                                                   GuestLinks links) {
  if (auto room = machine_->make_room_for(config.max_frames() + vmm::spare_frames); !room)
    return tl::unexpected("no memory for guest '" + config.name + "': " + room.error());
  return Guest::create(*this, DomId(next_domain_++), config, std::move(links));
}

}  // namespace pinfold::cli
