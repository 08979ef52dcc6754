#include "cli/run/run.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <optional>

#include "cli/console/guest_console.hpp"
#include "cli/control/published_guest.hpp"
#include "cli/control/store_server.hpp"
#include "cli/exit_codes.hpp"
#include "cli/gdb/server.hpp"
#include "cli/run/crash_report.hpp"
#include "cli/run/guest.hpp"
#include "cli/run/host.hpp"
#include "cli/run/output.hpp"
#include "cli/run/progress_line.hpp"
#include "cli/run/stats_report.hpp"
#include "cli/run/terminal.hpp"
#include "loader/kernel_image.hpp"

namespace pinfold::cli {
namespace {

/// Why there is no guest.
struct Failure {
  ExitCode code;
  std::string message;
};
template <class T>
using Result = tl::expected<T, Failure>;

tl::unexpected<Failure> failure(ExitCode code, std::string message) {
  return tl::unexpected(Failure{code, std::move(message)});
}

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

/// All that a life of the guest needs from outside: opened and read before there is a domain.
struct Inputs {
  SystemMap symbols;
  std::optional<gdb::Listener> debugger;
  loader::KernelImage kernel;
  std::optional<loader::Initrd> initrd;
  DiskImages images;
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
};

Result<Inputs> configure(const RunOptions& options) {
  const GuestConfig& guest = options.guest;
  auto symbols = load_symbols(options.watch.system_map, options.watch.vmlinux);
  if (!symbols) return failure(exit_bad_image, symbols.error());
  std::optional<gdb::Listener> debugger;
  if (!options.watch.gdb.empty()) {
    auto place = gdb::Listener::open(options.watch.gdb);
    if (!place) return failure(exit_bad_image, place.error());
    debugger.emplace(std::move(*place));
  }
  auto kernel = [&] {
    ProgressLine progress;
    return loader::load_kernel(guest.kernel, progress.sink(), loader::UnpackCache::of_user());
  }();
  if (!kernel) return failure(exit_bad_image, kernel.error().message);
  std::optional<loader::Initrd> initrd;
  if (!guest.initrd.empty()) {
    auto loaded = loader::load_initrd(guest.initrd);
    if (!loaded) return failure(exit_bad_image, loaded.error().message);
    initrd = std::move(*loaded);
  }
  auto images = open_images(guest);
  if (!images) return failure(exit_bad_image, images.error());
  return Inputs{std::move(*symbols), std::move(debugger), std::move(*kernel), std::move(initrd),
                std::move(*images)};
}

/// Makes the guest of its inputs, in `life`. The images are given back when they are in its memory.
Result<void> make(const RunOptions& options, Inputs& inputs, Life& life, const LifeLinks& from_supervisor) {
  const GuestConfig& config = options.guest;
  HostOptions host_options = options.host;
  // A debugger wants to see every trap.
  if (!options.watch.gdb.empty()) host_options.plain_gate = true;
  auto host = Host::open(host_options);
  if (!host) return failure(exit_no_usable_kvm, host.error());
  life.host = std::move(*host);
  auto trace = make_trace_sink(options.watch.trace, config.all_vcpus());
  if (!trace) return failure(exit_usage, trace.error());
  life.trace = std::move(*trace);
  life.output = std::make_unique<OutputWriter>(STDOUT_FILENO);
  auto console = GuestConsole::open(options.console, from_supervisor.socket(GuestSocket::console),
                                    [&output = *life.output](auto bytes) { return output.offer(bytes); });
  if (!console) return failure(exit_bad_image, console.error());
  life.console = std::move(*console);

  GuestLinks links;
  links.trace = life.trace.get();
  links.audit_interval = options.watch.audit ? options.watch.audit_interval : 0;
  links.console_output = [&life](std::span<const std::byte> bytes) {
    if (life.times.first_console_byte == 0) life.times.first_console_byte = life.watch.elapsed_ms();
    return life.console->offer(bytes);
  };
  links.images = std::move(inputs.images);
  auto guest = life.host->make_guest(config, std::move(links));
  if (!guest) return failure(exit_no_usable_kvm, guest.error());
  life.guest = std::move(*guest);
  const auto initrd = inputs.initrd ? inputs.initrd->bytes() : std::span<const std::byte>{};
  if (auto built = life.guest->build(inputs.kernel, initrd); !built)
    return failure(exit_bad_image, built.error());
  life.console->announce(*life.host->store(), life.guest->domain().id());
  inputs.kernel.unpacked = {};
  inputs.initrd.reset();
  return {};
}

/// From here on the supervisor asks for the end over the link. Nobody reads it if the supervisor is gone.
void say_that_it_runs(const vmm::Fd& supervisor) {
  const char runs = 0;
  (void)::send(supervisor.get(), &runs, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// Runs the guest until its end. From here on no file is opened, and no program is started.
vmm::End run_to_the_end(const RunOptions& options, Inputs& inputs, Life& life, const LifeLinks& links) {
  vmm::Domain& domain = life.guest->domain();
  OutputWriter& output = *life.output;
  std::optional<PublishedGuest> published;
  if (links.socket().open())
    published.emplace(options.guest.name, domain, life.host->store(), links.socket());
  std::optional<StoreServer> store;
  if (const vmm::Fd& listener = links.socket(GuestSocket::store); listener.open())
    store.emplace(life.host->store(), listener);
  vmm::End end;
  std::atomic<bool> leaving = false;
  {
    std::optional<gdb::Server> debugger;
    if (inputs.debugger) {
      debugger.emplace(*inputs.debugger, domain);
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
    life.console->close();
    // While the input is still there: a signal ends the program when nobody reads the guest's last output.
    output.finish();
  }
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

/// Takes the guest apart, and says what is left of it. False: something is, or an audit found a difference.
bool tear_down(bool audit, Life& life) {
  const auto left = life.guest->tear_down(audit);
  if (life.trace) close_trace_sink(*life.trace);
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
  return tear_down(watch.audit, life) ? code : exit_isolation_fault;
}

/// What the supervisor is to make of the end. A difference that was found, or a wall that stopped the guest,
/// is final.
LifeEnd describe(const vmm::End& end, ExitCode code) {
  LifeEnd life{std::nullopt, code, 0, {}};
  if (code == exit_isolation_fault) return life;
  switch (end.ending) {
    case vmm::Ending::power_off:
    case vmm::Ending::suspend: life.guest = GuestEnd::poweroff; break;
    case vmm::Ending::reboot: life.guest = GuestEnd::reboot; break;
    case vmm::Ending::crash: life.guest = GuestEnd::crash; break;
    case vmm::Ending::watchdog: life.guest = GuestEnd::watchdog; break;
    case vmm::Ending::none:
    case vmm::Ending::left:
    case vmm::Ending::isolation_fault:
    case vmm::Ending::host_failure: break;
  }
  return life;
}

LifeEnd no_life(const Failure& failure) {
  complain(failure.code, failure.message);
  return {std::nullopt, failure.code, 0, {}};
}

}  // namespace

LifeEnd live(const RunOptions& options, LifeLinks links) {
  Life life;
  auto inputs = configure(options);
  if (!inputs) return no_life(inputs.error());
  life.times.image_loaded = life.watch.elapsed_ms();
  if (auto made = make(options, *inputs, life, links); !made) return no_life(made.error());
  life.times.first_instruction = life.watch.elapsed_ms();
  const vmm::End end = run_to_the_end(options, *inputs, life, links);
  const ExitCode code = report(options.watch, inputs->symbols, end, life);
  return describe(end, code);
}

}  // namespace pinfold::cli
