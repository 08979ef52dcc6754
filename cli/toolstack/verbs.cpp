#include "cli/toolstack/verbs.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "cli/control/client.hpp"
#include "cli/control/guests.hpp"
#include "cli/exit_codes.hpp"
#include "cli/toolstack/asked.hpp"
#include "cli/toolstack/guest_end.hpp"
#include "cli/toolstack/verbs_text.hpp"
#include "cli/toolstack/watch.hpp"
#include "cli/usage.hpp"
#include "sandbox/helper.hpp"

namespace pinfold::cli {
namespace {

using Result = tl::expected<Json, std::string>;
using namespace std::chrono_literals;

/// What the commands take; each uses some of it.
struct Options {
  std::vector<std::string> guests;  ///< Names or IDs.
  bool all = false, wait = false, json = false;
  std::uint64_t memory_bytes = 0;
  std::uint32_t vcpus = 1, vcpu = 0;
  std::string key, trigger = "nmi";
  std::optional<WatchOptions> watch;
  std::uint64_t count = 0;  ///< Of tables; 0: without end.
};

int complain(const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return exit_bad_image;
}

tl::expected<std::vector<RunningGuest>, std::string> chosen(const Options& options, bool all) {
  if (all) return reachable_guests();
  std::vector<RunningGuest> guests;
  for (const std::string& word : options.guests) {
    auto guest = find_guest(word);
    if (!guest) return tl::unexpected(guest.error());
    guests.push_back(std::move(*guest));
  }
  return guests;
}

/// The guests that were named, or all.
tl::expected<std::vector<Asked>, std::string> ask_for_status(const Options& options) {
  const auto guests = chosen(options, options.guests.empty());
  if (!guests) return tl::unexpected(guests.error());
  constexpr time_t patience_s = 2;
  std::vector<Asked> asked;
  for (const RunningGuest& guest : *guests) {
    asked.push_back({guest, fetch_answer(guest, "status", Json::object(), patience_s)});
    const auto still = running_guests(guest.directory);
    if (std::ranges::none_of(still, [&](const auto& now) { return now.name == guest.name; }))
      asked.pop_back();
  }
  return asked;
}

/// list and uptime.
int show(const Options& options, std::string (*text)(const Json&)) {
  const auto asked = ask_for_status(options);
  if (!asked) return complain(asked.error());
  // Nothing has looked at the answers yet. A guest can have taken over its monitor.
  sandbox::confine_reader();
  Json statuses = Json::array();
  for (const Asked& one : *asked) statuses.push_back(status_of(one));
  try {
    fmt::print("{}", options.json ? statuses.dump(2) + "\n" : text(statuses));
  } catch (const Json::exception&) {
    return complain("a guest's monitor answered with something else");
  }
  return exit_powered_off;
}

/// One request to each guest, and what is printed of the answers.
int request_of(const Options& options, const RunningGuest& guest, const char* command, const Json& arguments,
               const std::string& done, Json& answers) {
  auto answer = ask_guest_named(guest, command, arguments);
  if (!answer) return complain(guest.name + ": " + answer.error());
  if (!options.json) fmt::print("{}: {}\n", guest.name, done);
  Json with_name{{"name", guest.name}, {"id", guest.note.id}};
  with_name.update(*answer);
  answers.push_back(std::move(with_name));
  return exit_powered_off;
}

void wait_for_all(const std::vector<RunningGuest>& guests) {
  constexpr int hint_after = 100;  // tenths of a second
  for (const RunningGuest& guest : guests) {
    int waited = 0;
    wait_for_end(guest, 0s, [&] {
      if (++waited != hint_after) return;
      const auto status = ask_guest_named(guest, "status");
      if (status && status->value("shutdown_pending", false))
        fmt::print(stderr,
                   "pinfold: {} has not taken up the request yet; `pinfold destroy {}` does not ask it\n",
                   guest.name, guest.name);
    });
  }
}

int ask_all(const Options& options, const char* command, const Json& arguments, const std::string& done) {
  const auto guests = chosen(options, options.all);
  if (!guests) return complain(guests.error());
  Json answers = Json::array();
  int code = exit_powered_off;
  for (const RunningGuest& guest : *guests)
    code = std::max(code, request_of(options, guest, command, arguments, done, answers));
  if (options.wait && code == exit_powered_off) wait_for_all(*guests);
  if (options.json)
    fmt::print("{}\n", (options.all ? answers : answers.empty() ? Json() : answers[0]).dump(2));
  return code;
}

/// A guest that shares its monitor: that one is not killed, because the others would end with it. A guest
/// that reboots just now may start again once more; one that ends waits for its driver domain, and for what
/// the host still transfers (Bus::patience), which takes 30 s at most.
bool destroy_in_company(const RunningGuest& guest) {
  for (int tries = 0; tries < 20; ++tries) {
    (void)ask_guest_named(guest, "destroy", Json::object(), 3);
    if (supervisor_ends_within(guest, 2s)) return true;
  }
  return false;
}

/// Also a guest whose monitor does not answer, or is not in a state to end.
int destroy(const Options& options) {
  const auto guests = chosen(options, false);
  if (!guests) return complain(guests.error());
  const RunningGuest guest = with_whole_note(guests->front());
  if (guest.note.shared) {
    if (!destroy_in_company(guest))
      return complain(fmt::format("{} does not end, and its monitor, process {}, has other guests, too",
                                  guest.name, guest.note.monitor));
  } else {
    (void)ask_guest_named(guest, "destroy", Json::object(), 3);
    if (!wait_for_end(guest, 5s)) {
      kill_monitor(guest);
      if (!wait_for_end(guest, 5s)) return complain(guest.name + " does not end");
    }
    if (!end_supervisor(guest)) return complain(guest.name + " starts again and again");
  }
  if (options.json)
    fmt::print("{}\n", Json{{"name", guest.name}, {"id", guest.note.id}, {"state", "destroyed"}}.dump(2));
  return exit_powered_off;
}

/// Adds a command. `act` is called with the options when it was given.
template <class Act>
CLI::App* add(CLI::App& app, Action& action, const std::shared_ptr<Options>& o, const char* name,
              const char* help, Act act) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", o->json, "Print JSON");
  command->callback([&action, o, act] { action = [o, act] { return act(*o); }; });
  return command;
}

CLI::Option* one_guest(CLI::App* command, Options& options) {
  // Not the list itself: it would take the words that follow, too.
  const auto take = [&options](const std::string& word) { options.guests = {word}; };
  return command->add_option_function<std::string>("GUEST", take, "The guest's name or ID")->required();
}

void add_lists(CLI::App& app, Action& action, const std::shared_ptr<Options>& o) {
  CLI::App* list = add(app, action, o, "list", "List the running guests", [](const Options& options) {
    if (!options.watch) return show(options, guests_text);
    WatchOptions how = *options.watch;
    how.count = options.count;
    return watch_guests([&options] { return ask_for_status(options); }, how);
  });
  list->add_option("GUEST", o->guests, "Only these: names or IDs");
  const auto watch = [o](const std::string& seconds) {
    o->watch.emplace();
    if (!seconds.empty()) o->watch->seconds = std::stod(seconds);
  };
  CLI::Option* watching =
      list->add_option_function<std::string>("--watch", watch,
                                             "What they do, every 2 s or as often as this says; q ends it")
          ->expected(0, 1)
          ->check(CLI::Validator(
              [](const std::string& text) {
                return text.empty() ? std::string() : CLI::Range(0.1, 86400.0)(text);
              },
              "", ""))
          ->type_name("SECONDS");
  list->add_option_function<std::uint64_t>(
          "-n,--count", [o](std::uint64_t count) { o->count = count; }, "Print so many tables, and end")
      ->check(CLI::PositiveNumber)
      ->needs(watching);
  add(app, action, o, "uptime", "Say for how long guests have been running", [](const Options& options) {
    return show(options, uptime_text);
  })->add_option("GUEST", o->guests, "Only these: names or IDs");
}

void add_ends(CLI::App& app, Action& action, const std::shared_ptr<Options>& o) {
  const auto add_request = [&](const char* name, const char* kind, const char* help) {
    CLI::App* command = add(app, action, o, name, help, [kind](const Options& options) {
      if (options.guests.empty() && !options.all) {
        fmt::print(stderr, "pinfold: which guest? Give a name, an ID or --all\n");
        return int{exit_usage};
      }
      return ask_all(options, "shutdown", {{"kind", kind}}, fmt::format("asked to {}", kind));
    });
    CLI::Option* guest = one_guest(command, *o)->required(false);
    command->add_flag("-w,--wait", o->wait, "Wait until the guest has done so");
    command->add_flag("-a,--all", o->all, "All guests")->excludes(guest);
  };
  add_request("shutdown", "poweroff", "Ask a guest to power off");
  add_request("reboot", "reboot", "Ask a guest to reboot");
  one_guest(add(app, action, o, "destroy", "End a guest at once, without asking it", destroy), *o);
  for (const bool pausing : {true, false})
    one_guest(add(app, action, o, pausing ? "pause" : "unpause",
                  pausing ? "Keep all vCPUs of a guest from running" : "Let a paused guest go on",
                  [pausing](const Options& options) {
                    return ask_all(options, pausing ? "pause" : "unpause", Json::object(),
                                   pausing ? "paused" : "running");
                  }),
              *o);
}

void add_changes(CLI::App& app, Action& action, const std::shared_ptr<Options>& o) {
  CLI::App* memory =
      add(app, action, o, "mem-set", "Ask a guest to use this much memory", [](const Options& options) {
        const std::uint64_t kib = options.memory_bytes / 1024;
        return ask_all(options, "mem-set", {{"kib", kib}}, fmt::format("asked to use {} KiB", kib));
      });
  one_guest(memory, *o);
  memory->add_option("MEM", o->memory_bytes, "Such as 512, 512M or 2G; MiB without a unit")
      ->required()
      ->transform(memory_size());
  CLI::App* vcpus =
      add(app, action, o, "vcpu-set", "Ask a guest to use this many vCPUs", [](const Options& options) {
        return ask_all(options, "vcpu-set", {{"count", options.vcpus}},
                       fmt::format("asked to use {} vCPU{}", options.vcpus, options.vcpus == 1 ? "" : "s"));
      });
  one_guest(vcpus, *o);
  vcpus->add_option("COUNT", o->vcpus, "How many, from 1 up")->required();
  CLI::App* sysrq =
      add(app, action, o, "sysrq", "Press a SysRq key of a guest's", [](const Options& options) {
        return ask_all(options, "sysrq", {{"key", options.key}}, "SysRq " + options.key);
      });
  one_guest(sysrq, *o);
  sysrq->add_option("KEY", o->key, "A letter or a digit")->required();
  CLI::App* trigger =
      add(app, action, o, "trigger", "Send an NMI to a guest's vCPU", [](const Options& options) {
        return ask_all(options, "trigger", {{"trigger", options.trigger}, {"vcpu", options.vcpu}},
                       fmt::format("NMI to vCPU {}", options.vcpu));
      });
  one_guest(trigger, *o);
  trigger->add_option("TRIGGER", o->trigger, "nmi")->required()->check(one_of({"nmi"}));
  trigger->add_option("VCPU", o->vcpu, "Which; 0 if not given");
}

}  // namespace

void add_verbs(CLI::App& app, Action& action) {
  const auto o = std::make_shared<Options>();
  add_lists(app, action, o);
  add_ends(app, action, o);
  add_changes(app, action, o);
}

}  // namespace pinfold::cli
