#include "cli/command_line.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/console/client.hpp"
#include "cli/console/command_line.hpp"
#include "cli/control/protocol.hpp"
#include "cli/doctor.hpp"
#include "cli/exit_codes.hpp"
#include "cli/guest_options.hpp"
#include "cli/inspect/inspect.hpp"
#include "cli/logs/pictures.hpp"
#include "cli/logs/trace_command.hpp"
#include "cli/manual/manual.hpp"
#include "cli/messages/message_writer.hpp"
#include "cli/metrics/command.hpp"
#include "cli/options_of_each.hpp"
#include "cli/sandbox_options.hpp"
#include "cli/supervisor/monitor.hpp"
#include "cli/supervisor/service_manager.hpp"
#include "cli/supervisor/supervisor.hpp"
#include "cli/toolstack/create.hpp"
#include "cli/toolstack/device_verbs.hpp"
#include "cli/toolstack/verbs.hpp"
#include "cli/usage.hpp"

namespace pinfold::cli {
namespace {

constexpr const char* exit_code_help =
    "Exit codes: 0 the guest powered off (or was left, or rebooted under --on-reboot destroy); 1 replay: a "
    "decision differs from the recorded one; 2 usage; 3 bad configuration, kernel or image; 4 no usable KVM, "
    "or no sandbox; "
    "5 the guest crashed; 6 pinfold ended the guest because of an isolation fault; 7 the monitor was killed, "
    "or its sandbox ended it.";

/// What `run` and `create` are told, as it was typed.
struct RunWords {
  std::string stats;
  std::vector<std::string> gdb;
  MessageOptions messages;
};

void add_trace(CLI::App& app, TraceOptions& options, std::string& to) {
  app.add_option("--trace-mmu", to,
                 "Tell every MMU decision: as lines on stderr, or with FILE into a log for trace and replay")
      ->expected(0, 1);
  app.add_option(
      "--trace-filter", options.filters,
      "Only these lines: op=, verdict=, frame=, table=, level=, vcpu=, address=, domain=, lender=, grant=");
}

void add_trace_command(CLI::App& app, TraceCommandOptions& options) {
  app.add_option("LOG", options.log, "A log of run --trace-mmu=FILE; may be packed with zstd")->required();
  app.add_flag("--json", options.json, "A JSON object for each event");
  app.add_flag("--summary", options.summary,
               "Operations, refusals by rule, hottest tables, callers, batches, flushes instead");
  app.add_flag("--follow", options.follow, "Wait for what is still to be written, until the domain's end");
  app.add_option("--filter", options.filters,
                 "Only these: op=, verdict=, frame=, table=, level=, vcpu=, address=, domain=, lender=, "
                 "grant=; several must all hold");
  app.add_option("--system-map", options.system_map, "The guest kernel's System.map, for names of functions");
}

void add_replay_command(CLI::App& app, ReplayOptions& options) {
  app.add_option("LOG", options.log, "A log of run --trace-mmu=FILE; may be packed with zstd")->required();
  app.add_option("--until", options.until, "Stop after the event of this number");
  app.add_option("--break-on", options.break_on, "Stop at the first refusal by this rule; any: by whichever");
  app.add_option(
      "--bisect", options.bisect,
      "Stop at the first event after which this holds of a frame: FRAME:CONDITION, such as 0x1f:type=l1");
  app.add_option("--frame", options.frame, "Say what this frame is where the replay stops");
  app.add_option("--system-map", options.system_map, "The guest kernel's System.map, for names of functions");
}

/// What only tests use: the help does not show them.
void add_test_options(CLI::App& app, HostOptions& options) {
  add_choice<std::optional<vmm::WriteProtection>>(
      app, "--write-protection", options.write_protection,
      {{"mprotect", vmm::WriteProtection::mprotect}, {"userfaultfd", vmm::WriteProtection::userfaultfd}}, "")
      ->group("");
  app.add_flag("--plain-gate", options.plain_gate)->group("");
}

void add_run(CLI::App& app, RunOptions& options, RunWords& words) {
  app.add_option("--stats", words.stats, "Print statistics at the end: table or json")
      ->expected(0, 1)
      ->default_str("table")
      ->check(one_of({"table", "json"}))
      ->type_name("table|json");
  app.add_flag("--audit", options.watch.audit,
               "Recompute all counts and mirrors from the tables while the guest runs and at its end");
  app.add_option("--audit-interval", options.watch.audit_interval, "MMU hypercalls between two audits")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI::Option* system_map =
      app.add_option("--system-map", options.watch.system_map,
                     "Names of the guest kernel's functions, for traces and crash reports: its "
                     "System.map, or a copy of its /proc/kallsyms");
  app.add_option("--vmlinux", options.watch.vmlinux, "The same from the symbol table of an ELF file")
      ->excludes(system_map);
  app.add_option(
         "--gdb", words.gdb,
         "Wait for GDB at unix:PATH or tcp:127.0.0.1:PORT; of several guests, one waits at NAME=unix:PATH")
      ->allow_extra_args(false)
      ->type_name("PLACE");
  app.add_option("--kvm", options.host.kvm_device, "KVM device")->capture_default_str();
  add_choice<HostOptions::Resident>(
      app, "--resident", options.host.resident,
      {{"auto", HostOptions::Resident::automatic},
       {"on", HostOptions::Resident::on},
       {"off", HostOptions::Resident::off}},
      "Finish plain page-table updates inside the VM: where the host can (auto; not with "
      "--trace-mmu or --audit), with --audit as well, or never");
  add_console_options(app, options.console);
  add_choice<MessageFormat>(
      app, "--log-format", words.messages.format,
      {{"text", MessageFormat::text}, {"json", MessageFormat::json}, {"journal", MessageFormat::journal}},
      "The form of messages: lines on stderr (text, if not given), a JSON object for each line, or entries "
      "of systemd's journal");
  app.add_option("--journal-socket", words.messages.journal)->group("");
  add_sandbox_options(app, options.sandbox);
  add_test_options(app, options.host);
}

/// Only a supervisor gives this command: the help does not show it.
void add_monitor(CLI::App& app, MonitorDescriptors& descriptors, std::string& name) {
  CLI::App* command = app.add_subcommand("monitor", "")->group("");
  command->add_option("--name", name);
  command->add_option("--options", descriptors.options)->delimiter(',')->required();
  command->add_option("--link", descriptors.link)->required();
  command->add_option("--sockets", descriptors.sockets)->delimiter(',');
  command->add_option("--debuggers", descriptors.debuggers)->delimiter(',');
  command->add_option("--networks", descriptors.networks);
  command->add_option("--disks", descriptors.disks);
}

void add_pictures(CLI::App& report, CLI::App& perfetto, PictureOptions& options) {
  for (CLI::App* app : {&report, &perfetto}) {
    app->add_option("LOG", options.log, "A log of run --trace-mmu=FILE; may be packed with zstd")->required();
    app->add_option("-o,--output", options.output, "The file to write")->required();
  }
  report.add_option("--system-map", options.system_map,
                    "The guest kernel's System.map, for names of functions");
}

/// One guest's options after the other.
tl::expected<MachineOptions, int> machine_of(const CLI::App& command, const RunOptions& options,
                                             const RunWords& words, std::vector<GuestConfig> guests) {
  MachineOptions machine(guests.size(), options);
  for (std::size_t n = 0; n < machine.size(); ++n) machine[n].guest = std::move(guests[n]);
  if (const char* one = option_with_one_file(machine); one != nullptr)
    return tl::unexpected(usage_error(
        command, std::string(one) + ": the guests need a file each; %n in its name is the guest's name"));
  if (auto given = give_debuggers(machine, words.gdb); !given)
    return tl::unexpected(usage_error(command, given.error()));
  return machine;
}

int supervise_with_messages(const MachineOptions& machine, const MessageOptions& messages) {
  const auto manager = ServiceManager::take_from_environment();  // before there are other processes
  const auto writer = MessageWriter::start(messages, names_of(machine));
  if (writer) return supervise(machine, {{}, [&] { manager.say_ready(); }, [&] { manager.say_stopping(); }});
  std::cerr << "pinfold: --log-format: " << writer.error() << "\n";
  return exit_bad_image;
}

/// What the monitor's answer does not contain, or contains in another form, is found out where it is used.
int answer_of(const Action& inspection) {
  try {
    return inspection();
  } catch (const Json::exception&) {
    std::cerr << "pinfold: a guest's monitor answered with something else\n";
    return exit_bad_image;
  }
}

}  // namespace

int run_command_line(int argc, char** argv, const char* version) {
  if (!spdlog::get("pinfold")) spdlog::set_default_logger(spdlog::stderr_color_mt("pinfold"));
  spdlog::set_level(spdlog::level::warn);

  CLI::App app{"Runs unmodified Xen PV guests on a KVM host, with every page-table change validated"};
  app.require_subcommand(1);
  app.footer(exit_code_help);
  app.set_version_flag("--version", version);

  RunOptions options;
  GuestOptions guest;
  RunWords words;
  std::string trace_to;
  CLI::App* run = app.add_subcommand(
      "run", "Run a guest, or several in one machine; the console is on stdin and stdout, Ctrl-] leaves");
  run->footer(exit_code_help);
  add_guest_options(*run, guest, Guests::several);
  add_run(*run, options, words);
  add_trace(*run, options.watch.trace, trace_to);
  bool json = false, attach = false;
  CLI::App* create = app.add_subcommand("create", "Run a guest in the background; returns when it runs");
  create->footer(exit_code_help);
  create->add_flag("-c,--attach", attach, "Then attach to its console, as the command console does");
  create->add_flag("-p,--paused", options.paused, "The guest starts paused: unpause lets it go on");
  std::string with;
  create->add_option("--with", with,
                     "Put the guest into the machine of this running guest (README has when to)");
  create->add_flag("--json", json, "Print the guest's name and the path of its log as JSON");
  add_guest_options(*create, guest, Guests::one);
  add_run(*create, options, words);
  add_trace(*create, options.watch.trace, trace_to);

  std::string device = "/dev/kvm";
  CLI::App* doctor =
      app.add_subcommand("doctor", "Find out what this host's KVM can do, and what pinfold makes of it");
  doctor->add_flag("--json", json, "Print one JSON object");
  doctor->add_option("--kvm", device, "KVM device")->capture_default_str();

  std::string console_of;
  CLI::App* console = add_console_command(app, console_of);

  Action inspection;
  add_verbs(app, inspection);
  add_device_verbs(app, inspection);
  add_inspection(app, inspection);
  add_metrics(app, inspection);

  TraceCommandOptions trace_options;
  CLI::App* trace = app.add_subcommand("trace", "Print a log of MMU events");
  add_trace_command(*trace, trace_options);
  ReplayOptions replay_options;
  CLI::App* replay = app.add_subcommand(
      "replay", "Give a log's operations to a fresh validator, and compare every decision");
  add_replay_command(*replay, replay_options);
  PictureOptions pictures;
  CLI::App* report =
      app.add_subcommand("report", "Make a page of a log: which frame was what, when, and why not");
  CLI::App* perfetto = app.add_subcommand("export", "Make a trace for ui.perfetto.dev of a log");
  add_pictures(*report, *perfetto, pictures);

  MonitorDescriptors of_monitor;
  std::string monitored;
  add_monitor(app, of_monitor, monitored);
  manual::ManualOptions manual;
  add_manual(app, manual);

  if (const auto code = parse(app, argc, argv)) return *code;
  if (app.got_subcommand("monitor")) return monitor(of_monitor);
  if (app.got_subcommand("manual")) return write_manual(app, manual, version);
  if (inspection) return answer_of(inspection);
  if (console->parsed()) return attach_console(console_of);
  const CLI::App& command = create->parsed() ? *create : *run;
  if (command.count("--stats") != 0)
    options.watch.stats = words.stats == "json" ? StatsFormat::json : StatsFormat::table;
  if (trace->parsed()) return trace_command(trace_options);
  if (replay->parsed()) return replay_command(replay_options);
  if (report->parsed()) return make_report(pictures);
  if (perfetto->parsed()) return export_perfetto(pictures);
  if (command.count("--trace-mmu") != 0) options.watch.trace.to = trace_to;
  try {
    if (doctor->parsed()) return cli::doctor(json, std::cout, device.c_str());
    auto chosen = chosen_guests(command, guest);
    if (!chosen) return chosen.error();
    auto machine = machine_of(command, options, words, std::move(*chosen));
    if (!machine) return machine.error();
    if (!create->parsed()) return supervise_with_messages(*machine, words.messages);
    options = std::move(machine->front());
    // In the background there is no stdio.
    if (options.console.place == ConsolePlace::stdio) options.console.place = ConsolePlace::none;
    return cli::create(options, {.json = json, .attach = attach, .with = with, .messages = words.messages});
  } catch (const std::bad_alloc&) {
    std::cerr << "pinfold: the host has not enough memory\n";
    return exit_bad_image;
  }
}

}  // namespace pinfold::cli
