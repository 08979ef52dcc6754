#include "cli/run/host.hpp"

#include "vmm/host/probe.hpp"

namespace pinfold::cli {
namespace {

/// Machine frames beyond a guest's own: pages shared with it, and a few for exchanges of frames.
constexpr std::uint64_t spare_frames = 4096;

}  // namespace

tl::expected<std::unique_ptr<Host>, std::string> Host::open(const HostOptions& options,
                                                            std::span<const GuestConfig> guests) {
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

  std::uint64_t frames = 0;
  for (const GuestConfig& guest : guests) frames += guest.max_frames() + spare_frames;
  auto machine = vmm::Machine::create(frames);
  if (!machine) return tl::unexpected(machine.error().message);
  host->machine_ = std::move(*machine);
  return host;
}

tl::expected<std::unique_ptr<Guest>, std::string> Host::make_guest(const GuestConfig& config,
                                                                   GuestLinks links) {
  return Guest::create(*this, DomId(next_domain_++), config, std::move(links));
}

}  // namespace pinfold::cli
