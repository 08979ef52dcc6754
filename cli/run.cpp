#include "cli/run.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <optional>

#include "cli/control/requests.hpp"
#include "cli/control/runtime_dir.hpp"
#include "cli/control/server.hpp"
#include "cli/crash_report.hpp"
#include "cli/exit_codes.hpp"
#include "cli/gdb/server.hpp"
#include "cli/guest.hpp"
#include "cli/output.hpp"
#include "cli/stats_report.hpp"
#include "cli/terminal.hpp"
#include "loader/kernel_image.hpp"
#include "vmm/host/probe.hpp"

namespace pinfold::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;

int complain(int code, const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return code;
}

/// Says how far a slow load has come, on a terminal only, and clears its line at the end.
class ProgressLine {
 public:
  loader::Progress sink() {
    if (::isatty(STDERR_FILENO) != 1) return {};
    return [this](std::string_view what, double fraction) {
      const auto now = SteadyClock::now();
      if (now - started_ < patience || now - shown_ < interval) return;
      shown_ = now;
      used_ = true;
      fmt::print(stderr, "\r{} {:3.0f} %", what, fraction * 100);
    };
  }
  ~ProgressLine() {
    if (used_) fmt::print(stderr, "\r\033[K");
  }

 private:
  static constexpr auto patience = std::chrono::milliseconds(300);
  static constexpr auto interval = std::chrono::milliseconds(50);
  SteadyClock::time_point started_ = SteadyClock::now(), shown_{};
  bool used_ = false;
};

/// The guest's name and its control socket. Without a socket the guest runs all the same, unless the user
/// gave it a name to be found by.
class Control {
 public:
  /// An error: the name is refused.
  [[nodiscard]] static tl::expected<Control, std::string> claim(const std::string& wanted) {
    Control control;
    control.name_ = wanted.empty() ? fmt::format("guest-{}", ::getpid()) : wanted;
    if (!is_guest_name(control.name_))
      return tl::unexpected(std::string("--name: 1 to 64 of A-Z a-z 0-9 . _ -, not a dot first"));
    std::string trouble;
    if (const auto directory = runtime_directory(); !directory) {
      trouble = directory.error();
    } else if (auto claimed = ControlName::claim(*directory, control.name_); !claimed) {
      trouble = claimed.error().message;
    } else {
      control.claimed_ = std::make_unique<ControlName>(std::move(*claimed));
      return control;
    }
    if (!wanted.empty()) return tl::unexpected("--name: " + trouble);
    fmt::print(stderr, "pinfold: no control socket: {}\n", trouble);
    return control;
  }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// From here on other commands find the guest.
  void serve(vmm::Domain& domain) {
    if (!claimed_) return;
    answers_ = std::make_unique<GuestControl>(name_, domain);
    server_ = std::make_unique<ControlServer>(
        *claimed_, [answers = answers_.get()](std::string_view line) { return answers->answer(line); });
  }
  /// Before the domain is taken apart.
  void close() { server_.reset(); }

 private:
  std::string name_;
  std::unique_ptr<ControlName> claimed_;
  std::unique_ptr<GuestControl> answers_;
  std::unique_ptr<ControlServer> server_;
};

int exit_code(vmm::Ending ending) {
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

/// One domain's life; nullopt: the guest asked for a reboot, and gets it.
std::optional<int> run_once(const RunOptions& options, const vmm::Uuid& uuid) {
  const auto start = SteadyClock::now();
  const auto elapsed_ms = [start] {
    return std::chrono::duration<double, std::milli>(SteadyClock::now() - start).count();
  };
  Milestones times;

  if (options.command_line.size() > loader::max_command_line)
    return complain(exit_bad_image, fmt::format("the command line has {} bytes; a guest takes at most {}",
                                                options.command_line.size(), loader::max_command_line));
  auto control = Control::claim(options.name);
  if (!control) return complain(exit_bad_image, control.error());
  const auto symbols = load_symbols(options.system_map, options.vmlinux);
  if (!symbols) return complain(exit_bad_image, symbols.error());
  std::optional<gdb::Listener> debugger_place;
  if (!options.gdb.empty()) {
    auto place = gdb::Listener::open(options.gdb);
    if (!place) return complain(exit_bad_image, place.error());
    debugger_place.emplace(std::move(*place));
  }
  loader::Loaded<loader::KernelImage> kernel = [&] {
    ProgressLine progress;
    return loader::load_kernel(options.kernel, progress.sink(), loader::UnpackCache::of_user());
  }();
  if (!kernel) return complain(exit_bad_image, kernel.error().message);
  std::optional<loader::Initrd> initrd;
  if (!options.initrd.empty()) {
    auto loaded = loader::load_initrd(options.initrd);
    if (!loaded) return complain(exit_bad_image, loaded.error().message);
    initrd = std::move(*loaded);
  }
  times.image_loaded = elapsed_ms();

  const auto kvm = vmm::Kvm::open(options.kvm_device.c_str());
  if (!kvm) return complain(exit_no_usable_kvm, kvm.error().message);
  const auto facts = vmm::probe(*kvm);
  if (!facts) return complain(exit_no_usable_kvm, facts.error().message);
  if (const char* objection = vmm::objection_to(*facts); objection != nullptr)
    return complain(exit_no_usable_kvm, objection);

  auto trace = make_trace_sink(options.trace, options.vcpus);
  if (!trace) return complain(exit_usage, trace.error());
  OutputWriter output(STDOUT_FILENO);
  GuestParts parts;
  parts.trace = trace->get();
  parts.name = control->name();
  parts.uuid = uuid;
  parts.vcpus = options.vcpus;
  parts.frames = options.memory_bytes / page_size;
  parts.host = vmm::traits_of(*facts);
  if (options.write_protection) parts.host.protection = *options.write_protection;
  // A debugger wants to see every trap.
  if (options.plain_gate || !options.gdb.empty()) parts.host.fast_paths = false;
  parts.audit_interval = options.audit ? options.audit_interval : 0;
  parts.early_console = options.early_console;
  parts.console_output = [&](std::span<const std::byte> bytes) {
    if (times.first_console_byte == 0) times.first_console_byte = elapsed_ms();
    return output.offer(bytes);
  };
  auto guest = Guest::create(*kvm, std::move(parts));
  if (!guest) return complain(exit_no_usable_kvm, guest.error());
  if (auto built = (*guest)->build(*kernel, initrd ? initrd->bytes() : std::span<const std::byte>{},
                                   options.command_line);
      !built)
    return complain(exit_bad_image, built.error());
  kernel->unpacked = {};
  initrd.reset();
  times.first_instruction = elapsed_ms();

  vmm::Domain& domain = (*guest)->domain();
  control->serve(domain);
  vmm::End end;
  {
    std::optional<gdb::Server> debugger;
    if (debugger_place) {
      debugger.emplace(*debugger_place, domain);
      fmt::print(stderr, "pinfold: the guest waits for GDB: target remote {}\n",
                 options.gdb.substr(options.gdb.find(':') + 1));
    }
    TerminalInput input([&](std::span<const std::byte> bytes) { return (*guest)->type(bytes); },
                        [&] {
                          domain.end(vmm::Ending::left, "left by the user, or ended by a signal");
                          output.hurry();
                        });
    output.on_room([&] { (*guest)->drain_console(); });
    end = domain.run();
    output.take_everything();
    (*guest)->drain_console();
    // Before the input goes: a signal still ends the program when nobody reads what the guest said last.
    output.finish();
  }
  times.end = elapsed_ms();
  control->close();

  int code = exit_code(end.ending);
  if (end.ending != vmm::Ending::power_off) fmt::print(stderr, "pinfold: {}\n", end.why);
  if (code != exit_powered_off) fmt::print(stderr, "{}", crash_report(domain, end, *symbols));
  if (options.stats == StatsFormat::table) fmt::print(stderr, "{}", stats_table(domain, times));
  if (options.stats == StatsFormat::json) fmt::print(stderr, "{}", stats_json(domain, times));
  const auto left = (*guest)->tear_down(options.audit);
  if (*trace) close_trace_sink(**trace);
  for (const std::string& finding : left.findings) complain(0, "audit: " + finding);
  if (left.frames != 0)
    complain(0, fmt::format("{} frames still had references after the domain's end", left.frames));
  if (!left.findings.empty() || left.frames != 0) code = exit_isolation_fault;
  if (options.audit && left.findings.empty() && left.frames == 0)
    fmt::print(stderr, "pinfold: audit: {} times, all counts and mirrors right; no reference left\n",
               domain.statistics().audits);
  if (end.ending == vmm::Ending::reboot && options.on_reboot == OnReboot::restart && code == exit_powered_off)
    return std::nullopt;
  return code;
}

}  // namespace

int run(const RunOptions& options) {
  // One for all its lives.
  const auto uuid = options.uuid ? vmm::Uuid::parse(*options.uuid) : vmm::Uuid::random();
  if (!uuid)
    return complain(exit_bad_image, options.uuid
                                        ? "--uuid: 32 hexadecimal digits as 8-4-4-4-12, not all of them 0"
                                        : "--uuid is needed: this host gives no random numbers");
  for (;;)
    if (const auto code = run_once(options, *uuid)) return *code;
}

}  // namespace pinfold::cli
