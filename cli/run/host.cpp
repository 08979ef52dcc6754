#include "cli/run/host.hpp"

#include "cli/run/domain_ids.hpp"
#include "cli/run/run_options.hpp"
#include "vmm/host/probe.hpp"

namespace pinfold::cli {

static_assert(most_guests_of_a_machine == vmm::most_domains);

tl::expected<ProbedKvm, std::string> ProbedKvm::open(const HostOptions& options) {
  auto kvm = vmm::Kvm::open(options.kvm_device.c_str());
  if (!kvm) return tl::unexpected(kvm.error().message);
  const auto facts = vmm::probe(*kvm);
  if (!facts) return tl::unexpected(facts.error().message);
  if (const char* objection = vmm::objection_to(*facts); objection != nullptr)
    return tl::unexpected(std::string(objection));
  ProbedKvm probed{std::move(*kvm), vmm::traits_of(*facts)};
  if (options.write_protection) probed.traits.protection = *options.write_protection;
  if (options.plain_gate) probed.traits.fast_paths = false;
  if (options.plain_gate || options.resident == HostOptions::Resident::off) probed.traits.resident = false;
  return probed;
}

tl::expected<std::unique_ptr<Host>, std::string> Host::create(ProbedKvm kvm) {
  std::unique_ptr<Host> host(new Host(std::move(kvm)));
  // Frame 0 is nobody's.
  auto machine = vmm::Machine::create(1, pvmmu::first_monitor_frame.raw(), host->traits().max_map_count);
  if (!machine) return tl::unexpected(machine.error().message);
  host->machine_ = std::move(*machine);
  return host;
}

tl::expected<std::unique_ptr<Guest>, std::string> Host::make_guest(const GuestConfig& config,
                                                                   GuestLinks links) {
  if (auto room = machine_->make_room_for(config.max_frames() + vmm::spare_frames); !room)
    return tl::unexpected("no memory for guest '" + config.name + "': " + room.error());
  last_domain_ = next_domain_id(last_domain_, [this](DomId id) { return store_->is_introduced(id); });
  return Guest::create(*this, last_domain_, config, std::move(links));
}

}  // namespace pinfold::cli
