#include "cli/run/resident.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <set>
#include <utility>

#include "cli/exit_codes.hpp"
#include "cli/hotplug/restart_notice.hpp"
#include "cli/run/crash_report.hpp"
#include "cli/run/preserve.hpp"
#include "cli/supervisor/link.hpp"

namespace pinfold::cli {
namespace {

/// nullopt: the guest did not do it.
std::optional<GuestEnd> guests_own(vmm::Ending ending) {
  switch (ending) {
    case vmm::Ending::power_off:
    case vmm::Ending::suspend: return GuestEnd::poweroff;
    case vmm::Ending::reboot: return GuestEnd::reboot;
    case vmm::Ending::crash: return GuestEnd::crash;
    case vmm::Ending::watchdog: return GuestEnd::watchdog;
    case vmm::Ending::none:
    case vmm::Ending::left:
    case vmm::Ending::isolation_fault:
    case vmm::Ending::host_failure: break;
  }
  return std::nullopt;
}

ExitCode exit_code(vmm::Ending ending) {
  switch (ending) {
    case vmm::Ending::none:
    case vmm::Ending::power_off:
    case vmm::Ending::reboot:
    case vmm::Ending::suspend:
    case vmm::Ending::left: return exit_powered_off;
    case vmm::Ending::isolation_fault: return exit_isolation_fault;
    case vmm::Ending::crash:
    case vmm::Ending::watchdog:
    case vmm::Ending::host_failure: break;
  }
  return exit_crashed;
}

/// What the supervisor is to make of the end. A difference that was found, or a wall that stopped the guest,
/// is final.
LifeEnd describe(const vmm::End& end, ExitCode code) {
  LifeEnd life{std::nullopt, code, 0, {}};
  if (code != exit_isolation_fault) life.guest = guests_own(end.ending);
  return life;
}

bool may_start_again(const GuestConfig& config) {
  for (const auto end : {GuestEnd::poweroff, GuestEnd::reboot, GuestEnd::crash, GuestEnd::watchdog})
    if (action_for(config, end) == EndAction::restart) return true;
  return false;
}

}  // namespace

Resident::Resident(const RunOptions& options, OpenInputs open, Inputs inputs, LifeLinks links,
                   std::size_t number, CommonParts& common)
    : options_(options),
      open_(std::move(open)),
      inputs_(std::move(inputs)),
      links_(std::move(links)),
      wirings_(wirings_of(options.guest, std::move(links_.networks))),
      number_(number),
      common_(common) {
  ConsoleHub::Lossless to_stdout;
  if (prints_to_stdout()) to_stdout = [this](auto bytes) { return common_.output->offer(bytes, number_); };
  console_ = std::make_unique<GuestConsole>(std::move(open_.console), links_.socket(GuestSocket::console),
                                            std::move(to_stdout));
}

Resident::~Resident() {
  if (life_) life_->servers.reset();
}

int Resident::complain(int code, const std::string& what) const {
  fmt::print(stderr, "pinfold: {}{}\n", options_.console.named ? name() + ": " : "", what);
  return code;
}

GuestLinks Resident::links_of_life() {
  GuestLinks links;
  links.trace = life_->trace.get();
  links.debugged = links_.debugger.open();
  links.watches_each_update =
      links.trace != nullptr || (options_.watch.audit && options_.host.resident != HostOptions::Resident::on);
  links.audit_interval = options_.watch.audit ? options_.watch.audit_interval : 0;
  links.wall_offset_seconds = open_.wall_offset_seconds;
  links.processors = open_.processors;
  links.console_output = [this, &life = *life_](std::span<const std::byte> bytes) {
    if (life.times.first_console_byte == 0) life.times.first_console_byte = life.watch.elapsed_ms();
    return console_->offer(bytes);
  };
  links.images = open_.images;
  links.wirings = wirings_;
  return links;
}

/// The images of a guest that never starts again here: they are in its memory now.
void Resident::forget_images() {
  if (!began_alone() && may_start_again(options_.guest)) return;
  inputs_.kernel.bytes = {};
  open_.initrd.reset();
  open_.images.clear();
  wirings_.clear();
}

Result<void> Resident::make(const Stopwatch& watch, double image_loaded_ms) {
  {
    // The old life ends first, if there is one: its frames are the next one's.
    const std::lock_guard lock(mutex_);
    life_.reset();
    life_ = std::make_unique<Life>(watch);
  }
  again_ = false;
  life_->times.image_loaded = image_loaded_ms;
  if (common_.trace)
    life_->trace = std::make_unique<trace::LogSink>(common_.trace, options_.guest.all_vcpus());
  auto guest = common_.host->make_guest(options_.guest, links_of_life());
  if (!guest) return failure(exit_no_usable_kvm, guest.error());
  {
    const std::lock_guard lock(mutex_);
    life_->guest = std::move(*guest);
  }
  const auto initrd = open_.initrd ? open_.initrd->bytes() : std::span<const std::byte>{};
  if (auto built = life_->guest->build(inputs_.kernel, initrd); !built)
    return failure(exit_bad_image, built.error());
  console_->announce(*common_.host->store(), domain().id());
  forget_images();
  life_->times.first_instruction = life_->watch.elapsed_ms();
  return {};
}

void Resident::publish() {
  Servers& servers = life_->servers.emplace();
  const auto& store = common_.host->store();
  if (links_.socket().open())
    servers.control.emplace(
        name(), domain(), life_->guest->hot_plug(), life_->guest->grants(), store, links_.socket(),
        [&life = *life_] { life.destroyed.signal(); }, common_.join);
  if (const vmm::Fd& listener = links_.socket(GuestSocket::store); listener.open())
    servers.store.emplace(store, listener);
}

void Resident::start() {
  if (!console_->started()) {
    if (!console_->terminal().empty()) complain(0, "the console is " + console_->terminal());
    console_->start([this](std::span<const std::byte> bytes) { return type(bytes); });
  }
  set_keyboard(&life_->guest->console(), false);
  wait_for_debugger();
  if (options_.paused) domain().stop(pvmmu::DomainLock(domain().mutex()), vmm::StopReason::user);
  if (prints_to_stdout())
    common_.output->on_room([&console = life_->guest->console()] { console.on_room(); }, number_);
  domain().create_threads();
  // It may have been asked for while the guest was made.
  if (common_.leaving) leave();
}

/// The guest's first instruction waits, in each life.
void Resident::wait_for_debugger() {
  if (!links_.debugger.open()) return;
  life_->debugger.emplace(links_.debugger, domain());
  const std::string& place = options_.watch.gdb;
  complain(0, "the guest waits for GDB: target remote " + place.substr(place.find(':') + 1));
}

void Resident::run() {
  vmm::End& end = life_->end;
  end = domain().run();
  if (prints_to_stdout()) common_.output->take_everything(number_);
  life_->debugger.reset();
  life_->guest->quiesce();
  note_leaving();
  again_ = is_to_start_again();
  if (again_) tell_what_restart_changes();
  if (!again_) {
    console_->finish_log();
    if (!will_stay()) console_->close();
  }
  life_->times.end = life_->watch.elapsed_ms();
}

/// The guest may have asked for a reboot a moment before the user left: then it does not start again.
void Resident::note_leaving() {
  life_->left = life_->left || common_.leaving;
  if (life_->left && life_->end.ending == vmm::Ending::reboot) life_->end.ending = vmm::Ending::left;
}

bool Resident::will_stay() const {
  const auto own = guests_own(life_->end.ending);
  return own && !life_->left && is_preserved(options_.guest, *own);
}

/// Only while others are there: the last guest's next life is a new process's, and the supervisor decides. So
/// it is of one that began alone: what it is made from was given up.
bool Resident::is_to_start_again() {
  const auto own = guests_own(life_->end.ending);
  if (began_alone()) return false;
  if (!own || life_->left || action_for(options_.guest, *own) != EndAction::restart || common_.here <= 1)
    return false;
  const auto objection = life_->rule.objection_to_restart(*own);
  if (objection) complain(0, *objection);
  return !objection;
}

void Resident::tell_what_restart_changes() const {
  const HotPlug& hot_plug = life_->guest->hot_plug();
  std::set<DeviceKey> had;
  for (const auto& device : hot_plug.bus().devices())
    if (device.departure == devices::xenbus::Departure::none)
      had.emplace(device.name.kind, device.name.number);
  if (const auto notice = restart_notice(options_.guest, had, hot_plug.attached())) complain(0, *notice);
}

LifeEnd Resident::conclude() {
  if (!again_) note_leaving();
  LifeEnd how = describe(life_->end, report());
  const bool preserved = how.guest && will_stay();
  if (preserved) stay(*how.guest);
  set_keyboard(nullptr, !again_);
  life_->servers.reset();
  if (!again_) console_->close();
  if (!tear_down()) {
    again_ = false;
    how = {std::nullopt, exit_isolation_fault, 0, {}};
  }
  // What follows from the guest's end has happened already.
  if (preserved) how.guest.reset();
  return how;
}

/// Says how the guest ended; the exit code.
ExitCode Resident::report() {
  const vmm::End& end = life_->end;
  const WatchOptions& watch = options_.watch;
  const ExitCode code = exit_code(end.ending);
  if (end.ending != vmm::Ending::power_off) complain(0, end.why);
  if (code != exit_powered_off) fmt::print(stderr, "{}", crash_report(domain(), end, *inputs_.symbols));
  if (watch.stats == StatsFormat::none) return code;
  const auto devices = life_->guest->device_counts();
  if (options_.console.named) complain(0, "statistics");
  fmt::print(stderr, "{}",
             watch.stats == StatsFormat::table ? stats_table(domain(), life_->times, devices)
                                               : stats_json(domain(), life_->times, devices));
  return code;
}

/// The guest stays as it is, without what a next life of it may need. Returns when it is to go.
void Resident::stay(GuestEnd end) {
  life_->guest->release_backends();
  open_.images.clear();
  wirings_.clear();
  if (life_->servers->control) life_->servers->control->set_preserved();
  say(link::preserved_after(end));
  preserve({began_alone() ? common_.supervisor : nullptr, life_->destroyed,
            [this] { console_->disconnect_readers(); }});
}

void Resident::say(std::uint8_t word) const {
  link::say(supervisor(), {static_cast<std::uint8_t>(has_joined() ? 0 : number_), word});
}

/// Takes the guest apart, and says what is left of it. False: something is, or an audit found a difference.
bool Resident::tear_down() {
  const bool audit = options_.watch.audit;
  const auto left = life_->guest->tear_down(audit);
  for (const std::string& finding : left.findings) complain(0, "audit: " + finding);
  if (left.frames != 0)
    complain(0, fmt::format("{} frames still had references after the domain's end", left.frames));
  const bool clean = left.findings.empty() && left.frames == 0;
  if (audit && clean)
    complain(0, fmt::format("audit: {} times, all counts and mirrors right; no reference left",
                            domain().statistics().audits));
  return clean;
}

void Resident::give_up() {
  set_keyboard(nullptr, true);
  {
    const std::lock_guard lock(mutex_);
    life_.reset();
  }
  console_->finish_log();
  console_->close();
  open_.images.clear();
  wirings_.clear();
  // The link stays, for the last word.
  links_.sockets = {};
  links_.debugger = vmm::Fd();
}

void Resident::set_keyboard(devices::ConsoleDevice* keyboard, bool gone) {
  const std::lock_guard lock(mutex_);
  keyboard_ = keyboard;
  gone_ = gone;
}

std::size_t Resident::type(std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  if (keyboard_ == nullptr) return gone_ ? bytes.size() : 0;
  return keyboard_->write_input(bytes);
}

void Resident::leave() {
  const std::lock_guard lock(mutex_);
  if (!life_ || !life_->guest) return;
  life_->guest->domain().end(vmm::Ending::left, "left by the user, or ended by a signal");
  life_->destroyed.signal();
}

}  // namespace pinfold::cli
