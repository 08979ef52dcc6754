#include "cli/inspect/inspect.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "cli/control/client.hpp"
#include "cli/exit_codes.hpp"
#include "cli/inspect/explain.hpp"
#include "cli/inspect/explain_log.hpp"
#include "cli/inspect/inspect_text.hpp"

namespace pinfold::cli {
namespace {

using Result = tl::expected<Json, std::string>;
using Words = std::function<std::string(const Json&)>;

/// What the commands take; each uses some of it.
struct Options {
  std::string name;
  std::string frame, table, address;
  std::uint32_t vcpu = 0;
  unsigned level = 0;
  bool user = false;
  bool json = false;
  std::string log, system_map;
  std::optional<std::uint64_t> at;
};

int print(const Options& options, const Result& result, const Words& words) {
  if (!result) {
    fmt::print(stderr, "pinfold: {}\n", result.error());
    return exit_bad_image;
  }
  try {
    fmt::print("{}", options.json ? result->dump(2) + "\n" : words(*result));
  } catch (const Json::exception&) {
    fmt::print(stderr, "pinfold: the guest's monitor answered with something else\n");
    return exit_bad_image;
  }
  return 0;
}

Result ask_about_number(const Options& options, const char* command, const char* key,
                        const std::string& number) {
  const auto value = parse_number(number);
  if (!value) return tl::unexpected(value.error());
  return ask_guest_once(options.name, command, {{key, *value}});
}

/// In the guest, and in its neighbours.
Result frame_in_machine(const Options& options) {
  const auto frame = parse_number(options.frame);
  if (!frame) return tl::unexpected(frame.error());
  return ask_machine_once(options.name, "frame", {{"frame", *frame}});
}

Result walk(const Options& options) {
  const auto address = parse_number(options.address);
  if (!address) return tl::unexpected(address.error());
  return ask_guest_once(options.name, "walk",
                        {{"address", hex(*address)}, {"vcpu", options.vcpu}, {"user", options.user}});
}

/// Of a frame in a live guest.
int explain_live(const Options& options) {
  const bool as_table = !options.table.empty();
  auto frame = ask_about_number(options, "frame", "frame", as_table ? options.table : options.frame);
  if (frame && as_table && (!frame->value("owned", false) || frame->at("mirror").is_null()))
    frame = tl::unexpected("frame " + options.table + " is not a page table of the guest's");
  if (frame) frame = explain_frame(*frame);
  return print(options, frame, frame_explanation_text);
}

int explain_in_log(const Options& options) {
  LogQuestion question;
  question.log = options.log;
  question.system_map = options.system_map;
  question.at = options.at;
  question.as_table = !options.table.empty();
  if (const std::string& number = question.as_table ? options.table : options.frame; !number.empty()) {
    const auto frame = parse_number(number);
    if (!frame) return print(options, tl::unexpected(frame.error()), {});
    question.frame = Mfn(*frame);
  } else if (!options.at) {
    fmt::print(stderr, "pinfold: explain --log: what of it? Give --frame, --table, or an event with --at\n");
    return exit_usage;
  }
  return print(options, explain_in_log(question), log_explanation_text);
}

int explain(const Options& options) {
  if (!options.log.empty()) return explain_in_log(options);
  if (!options.frame.empty() || !options.table.empty()) return explain_live(options);
  if (options.name.empty()) return print(options, explain_rules(), rules_text);
  const auto rule = find_rule(options.name);
  if (!rule)
    return print(options, tl::unexpected(options.name + " is not a rule; `pinfold explain` lists them"), {});
  return print(options, explain_rule(*rule), rule_text);
}

CLI::App* add_command(CLI::App& app, Options& options, const char* name, const char* help) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", options.json, "Print JSON");
  return command;
}

CLI::App* about_guest(CLI::App* command, Options& options) {
  command->add_option("GUEST", options.name, "The guest's name or ID")->required();
  return command;
}

}  // namespace

void add_inspection(CLI::App& app, Action& action) {
  const auto o = std::make_shared<Options>();
  CLI::App* tables = about_guest(
      add_command(app, *o, "tables", "List all page tables of a running guest, and who refers to each"), *o);
  tables->add_option("--level", o->level, "Only tables of this level")->check(CLI::Range(1, 4));
  tables->callback([&action, o] {
    action = [o] {
      return print(*o, ask_guest_once(o->name, "tables"),
                   [&](const Json& answer) { return tables_text(answer, o->level); });
    };
  });

  CLI::App* frame = about_guest(
      add_command(app, *o, "frame", "Tell what a frame is, and everything that refers to it"), *o);
  frame->add_option("MFN", o->frame, "Machine frame number, decimal or 0x…")->required();
  frame->callback([&action, o] { action = [o] { return print(*o, frame_in_machine(*o), frame_text); }; });

  CLI::App* walk_command = about_guest(
      add_command(app, *o, "walk", "Follow an address through a guest's page tables and their mirror"), *o);
  walk_command->add_option("VADDR", o->address, "Virtual address, 0x…")->required();
  walk_command->add_flag("--user", o->user, "In the page tables of the guest's user mode");
  walk_command->add_option("--vcpu", o->vcpu, "The vCPU whose page tables are meant")->capture_default_str();
  walk_command->callback([&action, o] { action = [o] { return print(*o, walk(*o), walk_text); }; });

  CLI::App* explain_command = add_command(
      app, *o, "explain",
      "Say what a rule is for, what stands in the way of a change of a guest's frame, or did in a log");
  CLI::Option* what = explain_command->add_option(
      "WHAT", o->name, "A rule (all are listed without it), or a running guest's name");
  CLI::Option* of_frame = explain_command->add_option("--frame", o->frame, "A frame of that guest");
  explain_command->add_option("--table", o->table, "A page table of that guest")->excludes(of_frame);
  CLI::Option* log =
      explain_command->add_option("--log", o->log, "Of a guest in a log, at the log's end")->excludes(what);
  explain_command
      ->add_option("--at,--until", o->at,
                   "After the log's event of this number, which is explained unless a frame is given")
      ->needs(log);
  explain_command->add_option("--system-map", o->system_map, "Names of the guest kernel's functions")
      ->needs(log);
  explain_command->callback([&action, o] { action = [o] { return explain(*o); }; });
}

}  // namespace pinfold::cli
