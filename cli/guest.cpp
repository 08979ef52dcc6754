#include "cli/guest.hpp"

#include "devices/xenstore/domain_nodes.hpp"

namespace pinfold::cli {
namespace {

/// Machine frames beyond the guest's own: pages shared with it, and a little to exchange frames with.
constexpr std::uint64_t spare_frames = 4096;

}  // namespace

tl::expected<std::unique_ptr<Guest>, std::string> Guest::create(const vmm::Kvm& kvm, GuestParts parts) {
  std::unique_ptr<Guest> guest(new Guest(std::move(parts)));
  auto machine = vmm::Machine::create(guest->parts_.frames + spare_frames);
  if (!machine) return tl::unexpected(machine.error().message);
  guest->machine_ = std::move(*machine);

  vmm::DomainConfig config;
  config.uuid = guest->parts_.uuid;
  config.frames = guest->parts_.frames;
  config.vcpus = guest->parts_.vcpus;
  config.host = guest->parts_.host;
  config.audit_interval = guest->parts_.audit_interval;
  config.trace = guest->parts_.trace;
  auto domain = vmm::Domain::create(kvm, *guest->machine_, config);
  if (!domain) return tl::unexpected(domain.error());
  guest->domain_ = std::move(*domain);

  vmm::Domain& d = *guest->domain_;
  guest->events_ = std::make_unique<devices::EventChannels>(d.id(), d);
  guest->events_->register_with(d.hypercalls());
  d.set_events(guest->events_.get());
  guest->grants_ = std::make_unique<devices::GrantTable>(d.id(), d.shared_frames());
  guest->grants_->register_with(d.hypercalls());
  guest->console_io_.register_with(d.hypercalls());
  Guest* self = guest.get();
  guest->store_port_ = guest->events_->open_monitor_channel([self](vmm::Hypercall& call) {
    return self->store_connection_ ? self->store_connection_->on_guest_event(call.budget)
                                   : devices::Served::all;
  });
  guest->console_port_ = guest->events_->open_monitor_channel([self](vmm::Hypercall&) {
    if (self->console_) self->console_->on_guest_event();
    return devices::Served::all;
  });
  return guest;
}

tl::expected<void, std::string> Guest::build(const loader::KernelImage& kernel,
                                             std::span<const std::byte> initrd,
                                             std::string_view command_line) {
  vmm::Domain& d = *domain_;
  const loader::DomainPlan plan{
      kernel,
      initrd,
      command_line,
      d.frames(),
      loader::MachineMemory(machine_->pages().page(0), machine_->frames().size(), machine_->file().get()),
      d.shared_info_frame(),
      store_port_,
      console_port_,
      0};
  const auto built = loader::build_domain(plan);
  if (!built) return tl::unexpected(built.error().message);

  // Before the tables are checked: no table of the guest's, the initial ones included, gets at a ring.
  auto console_ring = hold_ring(built->console_ring, "console");
  if (!console_ring) return tl::unexpected(console_ring.error());
  auto store_ring = hold_ring(built->xenstore_ring, "xenstore");
  if (!store_ring) return tl::unexpected(store_ring.error());

  devices::EventChannels& events = *events_;
  console_ =
      std::make_unique<devices::Console>(std::move(*console_ring), parts_.console_output,
                                         [&events, port = console_port_] { events.notify_guest(port); });
  store_ = std::make_shared<devices::xenstore::Store>();
  devices::xenstore::DomainNodes nodes;
  nodes.domain = d.id();
  nodes.name = parts_.name;
  nodes.uuid = d.config().uuid.text();
  nodes.memory_kib = parts_.frames * page_size / 1024;
  nodes.vcpus = d.vcpu_count();
  nodes.console_ring = built->console_ring;
  nodes.console_port = console_port_;
  nodes.store_ring = built->xenstore_ring;
  nodes.store_port = store_port_;
  if (auto filled = populate(*store_, nodes); !filled)
    return tl::unexpected(std::string("xenstore refuses the guest's name or UUID"));
  store_connection_ = devices::xenstore::Connection::create(
      store_, d.id(), std::move(*store_ring), [&events, port = store_port_] { events.notify_guest(port); });
  return d.adopt(built->l4, built->entry, built->stack_top, built->start_info);
}

tl::expected<vmm::SharedPage, std::string> Guest::hold_ring(Mfn frame, const char* what) {
  const pvmmu::DomainLock lock(domain_->mutex());
  auto page = domain_->holds().hold(lock, frame);
  if (!page)
    return tl::unexpected(std::string("the ") + what + " ring can't be held: " + page.error().describe());
  return std::move(*page);
}

vmm::Domain::Leftovers Guest::tear_down(bool audit) {
  console_.reset();
  store_connection_.reset();
  grants_.reset();
  domain_->set_events(nullptr);
  events_.reset();
  return domain_->tear_down(audit);
}

void Guest::drain_console() { console_->on_room(); }

std::size_t Guest::type(std::span<const std::byte> bytes) { return console_->write_input(bytes); }

}  // namespace pinfold::cli
