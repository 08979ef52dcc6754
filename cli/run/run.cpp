#include "cli/run/run.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <optional>
#include <utility>

#include "cli/control/published_guest.hpp"
#include "cli/control/store_server.hpp"
#include "cli/exit_codes.hpp"
#include "cli/gdb/server.hpp"
#include "cli/run/boot_source.hpp"
#include "cli/run/confine_monitor.hpp"
#include "cli/run/crash_report.hpp"
#include "cli/run/guest.hpp"
#include "cli/run/host.hpp"
#include "cli/run/inputs.hpp"
#include "cli/run/output.hpp"
#include "cli/run/preserve.hpp"
#include "cli/run/stats_report.hpp"
#include "cli/run/terminal.hpp"
#include "cli/supervisor/link.hpp"

namespace pinfold::cli {
namespace {

int complain(int code, const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return code;
}

/// Milliseconds since a life of the guest began.
class Stopwatch {
 public:
  [[nodiscard]] double elapsed_ms() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// A life of the guest, and what watches it. Destroyed in the reverse order.
struct Life {
  Stopwatch watch;
  Milestones times;
  std::unique_ptr<Host> host;
  std::unique_ptr<trace::LogSink> trace;
  std::unique_ptr<OutputWriter> output;
  std::unique_ptr<GuestConsole> console;
  std::unique_ptr<Guest> guest;
  bool left = false;          ///< The user ended it.
  bool trace_closed = false;  ///< The log is complete; what comes later is not meant for it.
};

/// Makes the guest of its inputs, in `life`. The images are given back when they are in its memory.
Result<void> make(const RunOptions& options, OpenInputs& open, Inputs& inputs, Life& life,
                  LifeLinks& from_supervisor) {
  const GuestConfig& config = options.guest;
  auto host = Host::create(std::move(open.kvm));
  if (!host) return failure(exit_no_usable_kvm, host.error());
  life.host = std::move(*host);
  auto trace =
      make_trace_sink(options.watch.trace, std::move(open.trace_log), inputs.symbols, config.all_vcpus());
  if (!trace) return failure(exit_usage, trace.error());
  life.trace = std::move(*trace);
  life.output = std::make_unique<OutputWriter>(STDOUT_FILENO);
  ConsoleHub::Lossless to_stdout;
  if (options.console.place == ConsolePlace::stdio)
    to_stdout = [&output = *life.output](auto bytes) { return output.offer(bytes); };
  life.console = std::make_unique<GuestConsole>(
      std::move(open.console), from_supervisor.socket(GuestSocket::console), std::move(to_stdout));

  GuestLinks links;
  links.trace = life.trace.get();
  links.audit_interval = options.watch.audit ? options.watch.audit_interval : 0;
  links.wall_offset_seconds = open.wall_offset_seconds;
  links.processors = std::move(open.processors);
  links.console_output = [&life](std::span<const std::byte> bytes) {
    if (life.times.first_console_byte == 0) life.times.first_console_byte = life.watch.elapsed_ms();
    return life.console->offer(bytes);
  };
  links.images = std::move(open.images);
  links.networks = std::move(from_supervisor.networks);
  auto guest = life.host->make_guest(config, std::move(links));
  if (!guest) return failure(exit_no_usable_kvm, guest.error());
  life.guest = std::move(*guest);
  const auto initrd = open.initrd ? open.initrd->bytes() : std::span<const std::byte>{};
  if (auto built = life.guest->build(inputs.kernel, initrd); !built)
    return failure(exit_bad_image, built.error());
  life.console->announce(*life.host->store(), life.guest->domain().id());
  inputs.kernel.bytes = {};
  open.initrd.reset();
  return {};
}

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

bool will_stay(const GuestConfig& config, const vmm::End& end) {
  const auto own = guests_own(end.ending);
  return own && is_preserved(config, *own);
}

/// From here on the supervisor asks for the end over the link. Nobody reads it if the supervisor is gone.
void say_that_it_runs(const vmm::Fd& supervisor) {
  (void)::send(supervisor.get(), &link::runs, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// Those who serve clients while the guest is there.
struct Servers {
  WakeUp destroyed;  ///< Signalled when a command destroys a guest that has ended.
  std::optional<PublishedGuest> control;
  std::optional<StoreServer> store;

  Servers(const RunOptions& options, Life& life, const LifeLinks& links) {
    if (links.socket().open())
      control.emplace(options.guest.name, life.guest->domain(), life.guest->hot_plug(), life.host->store(),
                      links.socket(), [this] { destroyed.signal(); });
    if (const vmm::Fd& listener = links.socket(GuestSocket::store); listener.open())
      store.emplace(life.host->store(), listener);
  }
};

/// Runs the guest until its end.
vmm::End run_to_the_end(const RunOptions& options, Life& life, const LifeLinks& links) {
  vmm::Domain& domain = life.guest->domain();
  OutputWriter& output = *life.output;
  vmm::End end;
  std::atomic<bool> leaving = false;
  {
    std::optional<gdb::Server> debugger;
    if (links.debugger.open()) {
      debugger.emplace(links.debugger, domain);
      fmt::print(stderr, "pinfold: the guest waits for GDB: target remote {}\n",
                 options.watch.gdb.substr(options.watch.gdb.find(':') + 1));
    }
    devices::ConsoleDevice& console = life.guest->console();
    const auto type = [&](std::span<const std::byte> bytes) { return console.write_input(bytes); };
    const bool on_stdio = options.console.place == ConsolePlace::stdio;
    if (!life.console->terminal().empty())
      fmt::print(stderr, "pinfold: the console is {}\n", life.console->terminal());
    life.console->start(type);
    TerminalInput input([&](auto bytes) { return on_stdio ? type(bytes) : bytes.size(); },
                        [&] {
                          leaving = true;
                          domain.end(vmm::Ending::left, "left by the user, or ended by a signal");
                          output.hurry();
                        },
                        links.supervisor);
    if (options.paused) domain.stop(pvmmu::DomainLock(domain.mutex()), vmm::StopReason::user);
    say_that_it_runs(links.supervisor);
    output.on_room([&] { console.on_room(); });
    end = domain.run();
    output.take_everything();
    life.guest->quiesce();
    life.console->finish_log();
    if (!will_stay(options.guest, end)) life.console->close();
    // While the input is still there: a signal ends the program when nobody reads the guest's last output.
    output.finish();
  }
  life.left = leaving;
  // The guest may have asked for a reboot a moment before the user left: then it does not start again.
  if (leaving && end.ending == vmm::Ending::reboot) end.ending = vmm::Ending::left;
  life.times.end = life.watch.elapsed_ms();
  return end;
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

void close_trace(Life& life) {
  if (life.trace && !std::exchange(life.trace_closed, true)) close_trace_sink(*life.trace);
}

/// Takes the guest apart, and says what is left of it. False: something is, or an audit found a difference.
bool tear_down(bool audit, Life& life) {
  life.console->close();
  const auto left = life.guest->tear_down(audit);
  close_trace(life);
  for (const std::string& finding : left.findings) complain(0, "audit: " + finding);
  if (left.frames != 0)
    complain(0, fmt::format("{} frames still had references after the domain's end", left.frames));
  const bool clean = left.findings.empty() && left.frames == 0;
  if (audit && clean)
    fmt::print(stderr, "pinfold: audit: {} times, all counts and mirrors right; no reference left\n",
               life.guest->domain().statistics().audits);
  return clean;
}

/// Says how the guest ended; the exit code.
ExitCode report(const WatchOptions& watch, const SystemMap& symbols, const vmm::End& end, Life& life) {
  vmm::Domain& domain = life.guest->domain();
  const ExitCode code = exit_code(end.ending);
  if (end.ending != vmm::Ending::power_off) fmt::print(stderr, "pinfold: {}\n", end.why);
  if (code != exit_powered_off) fmt::print(stderr, "{}", crash_report(domain, end, symbols));
  if (watch.stats == StatsFormat::table)
    fmt::print(stderr, "{}", stats_table(domain, life.times, life.guest->device_counts()));
  if (watch.stats == StatsFormat::json)
    fmt::print(stderr, "{}", stats_json(domain, life.times, life.guest->device_counts()));
  return code;
}

/// What the supervisor is to make of the end. A difference that was found, or a wall that stopped the guest,
/// is final.
LifeEnd describe(const vmm::End& end, ExitCode code) {
  LifeEnd life{std::nullopt, code, 0, {}};
  if (code != exit_isolation_fault) life.guest = guests_own(end.ending);
  return life;
}

/// The guest stays as it is, without what a next life of it may need. Returns when it is to go.
void stay(GuestEnd end, Life& life, Servers& servers, const LifeLinks& links) {
  life.guest->release_backends();
  close_trace(life);
  if (servers.control) servers.control->set_preserved();
  preserve(end, {links.supervisor, servers.destroyed, [&life] { life.console->disconnect_readers(); }});
}

LifeEnd no_life(const Failure& failure) {
  complain(failure.code, failure.message);
  return {std::nullopt, failure.code, 0, {}};
}

}  // namespace

LifeEnd live(const RunOptions& given, LifeLinks links) {
  Life life;
  if (auto possible = can_confine_monitor(given); !possible) return no_life(possible.error());
  auto source = BootSource::find(given);
  if (!source) return no_life({exit_bad_image, source.error()});
  const RunOptions& options = source->options();
  const auto failed = [&source](const Failure& failure) {
    return no_life({failure.code, source->with_names(failure.message)});
  };
  auto open = open_inputs(options, std::move(links.disks));
  if (!open) return failed(open.error());
  source->forget_files();

  if (auto confined = confine_monitor(options); !confined) return no_life(confined.error());

  auto inputs = read_inputs(*open);
  if (!inputs) return failed(inputs.error());
  life.times.image_loaded = life.watch.elapsed_ms();
  if (auto made = make(options, *open, *inputs, life, links); !made) return no_life(made.error());
  life.times.first_instruction = life.watch.elapsed_ms();
  std::optional<Servers> servers;
  servers.emplace(options, life, links);
  const vmm::End end = run_to_the_end(options, life, links);
  const ExitCode code = report(options.watch, *inputs->symbols, end, life);
  LifeEnd how = describe(end, code);
  const bool preserved = how.guest && !life.left && is_preserved(options.guest, *how.guest);
  if (preserved) stay(*how.guest, life, *servers, links);
  servers.reset();
  if (!tear_down(options.watch.audit, life)) return {std::nullopt, exit_isolation_fault, 0, {}};
  // What follows from the guest's end has happened already.
  if (preserved) how.guest.reset();
  return how;
}

}  // namespace pinfold::cli
