#include "cli/run/run.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <optional>

#include "cli/control/published_guest.hpp"
#include "cli/exit_codes.hpp"
#include "cli/gdb/server.hpp"
#include "cli/run/crash_report.hpp"
#include "cli/run/guest.hpp"
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

/// All that a life of the guest needs from outside: claimed, opened and read before there is a domain.
struct Inputs {
  std::optional<PublishedGuest> published;  ///< None: the guest runs without a control socket.
  SystemMap symbols;
  std::optional<gdb::Listener> debugger;
  loader::KernelImage kernel;
  std::optional<loader::Initrd> initrd;
};

/// A life of the guest, and what watches it. Destroyed in the reverse order.
struct Life {
  Stopwatch watch;
  Milestones times;
  std::unique_ptr<Host> host;
  std::unique_ptr<trace::LogSink> trace;
  std::unique_ptr<OutputWriter> output;
  std::unique_ptr<Guest> guest;
};

/// Without a socket the guest runs all the same, unless the user gave it a name to be found by.
Result<std::optional<PublishedGuest>> publish(const RunOptions& options, const std::string& name) {
  auto claimed = PublishedGuest::claim(name);
  if (claimed) return std::move(*claimed);
  if (!options.guest.name.empty()) return failure(exit_bad_image, "--name: " + claimed.error());
  fmt::print(stderr, "pinfold: no control socket: {}\n", claimed.error());
  return std::nullopt;
}

Result<Inputs> configure(const RunOptions& options, const GuestConfig& guest) {
  auto published = publish(options, guest.name);
  if (!published) return tl::unexpected(published.error());
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
  return Inputs{std::move(*published), std::move(*symbols), std::move(debugger), std::move(*kernel),
                std::move(initrd)};
}

/// Makes the guest of its inputs, in `life`. The images are given back when they are in its memory.
Result<void> make(const RunOptions& options, const GuestConfig& config, Inputs& inputs, Life& life) {
  HostOptions host_options = options.host;
  // A debugger wants to see every trap.
  if (!options.watch.gdb.empty()) host_options.plain_gate = true;
  auto host = Host::open(host_options, std::span(&config, 1));
  if (!host) return failure(exit_no_usable_kvm, host.error());
  life.host = std::move(*host);
  auto trace = make_trace_sink(options.watch.trace, config.all_vcpus());
  if (!trace) return failure(exit_usage, trace.error());
  life.trace = std::move(*trace);
  life.output = std::make_unique<OutputWriter>(STDOUT_FILENO);

  GuestLinks links;
  links.trace = life.trace.get();
  links.audit_interval = options.watch.audit ? options.watch.audit_interval : 0;
  links.console_output = [&life](std::span<const std::byte> bytes) {
    if (life.times.first_console_byte == 0) life.times.first_console_byte = life.watch.elapsed_ms();
    return life.output->offer(bytes);
  };
  auto guest = life.host->make_guest(config, std::move(links));
  if (!guest) return failure(exit_no_usable_kvm, guest.error());
  life.guest = std::move(*guest);
  const auto initrd = inputs.initrd ? inputs.initrd->bytes() : std::span<const std::byte>{};
  if (auto built = life.guest->build(inputs.kernel, initrd); !built)
    return failure(exit_bad_image, built.error());
  inputs.kernel.unpacked = {};
  inputs.initrd.reset();
  return {};
}

/// Runs the guest until its end. From here on no file is opened, and no program is started.
vmm::End run_to_the_end(const RunOptions& options, Inputs& inputs, Life& life) {
  vmm::Domain& domain = life.guest->domain();
  OutputWriter& output = *life.output;
  if (inputs.published) inputs.published->serve(domain);
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
    TerminalInput input([&](std::span<const std::byte> bytes) { return console.write_input(bytes); },
                        [&] {
                          leaving = true;
                          domain.end(vmm::Ending::left, "left by the user, or ended by a signal");
                          output.hurry();
                        });
    output.on_room([&] { console.on_room(); });
    end = domain.run();
    output.take_everything();
    life.guest->quiesce();
    // While the input is still there: a signal ends the program when nobody reads the guest's last output.
    output.finish();
  }
  // The guest may have asked for a reboot a moment before the user left: then it does not start again.
  if (leaving && end.ending == vmm::Ending::reboot) end.ending = vmm::Ending::left;
  life.times.end = life.watch.elapsed_ms();
  if (inputs.published) inputs.published->close();
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
  if (watch.stats == StatsFormat::table) fmt::print(stderr, "{}", stats_table(domain, life.times));
  if (watch.stats == StatsFormat::json) fmt::print(stderr, "{}", stats_json(domain, life.times));
  return tear_down(watch.audit, life) ? code : exit_isolation_fault;
}

/// One life of the guest; nullopt: it asked for a reboot, and gets it. Lives have nothing in common but the
/// options and the configuration.
std::optional<int> live(const RunOptions& options, const GuestConfig& config) {
  Life life;
  auto inputs = configure(options, config);
  if (!inputs) return complain(inputs.error().code, inputs.error().message);
  life.times.image_loaded = life.watch.elapsed_ms();
  if (auto made = make(options, config, *inputs, life); !made)
    return complain(made.error().code, made.error().message);
  life.times.first_instruction = life.watch.elapsed_ms();
  const vmm::End end = run_to_the_end(options, *inputs, life);
  const ExitCode code = report(options.watch, inputs->symbols, end, life);
  if (end.ending == vmm::Ending::reboot && config.on_reboot == EndAction::restart && code == exit_powered_off)
    return std::nullopt;
  return code;
}

}  // namespace

int run(const RunOptions& options) {
  // Completed once: the guest keeps its name and its UUID when it restarts.
  const auto config = completed(options.guest);
  if (!config) return complain(exit_bad_image, in_terms_of_flags(config.error()));
  for (;;)
    if (const auto code = live(options, *config)) return *code;
}

}  // namespace pinfold::cli
