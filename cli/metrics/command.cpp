#include "cli/metrics/command.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <set>

#include "cli/config/xl_child.hpp"
#include "cli/control/guests.hpp"
#include "cli/exit_codes.hpp"
#include "cli/metrics/address.hpp"
#include "cli/metrics/ask_all.hpp"
#include "cli/metrics/guest_page.hpp"
#include "cli/metrics/server.hpp"
#include "sandbox/helper.hpp"
#include "sandbox/privileges.hpp"

namespace pinfold::cli {
namespace {

constexpr const char* request = "metrics";

struct Options {
  std::string guest;
  std::string listen;
};

int complain(const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return exit_bad_image;
}

/// One guest's, or why there are none.
int print_one(const std::string& name_or_id) {
  const auto guest = find_guest(name_or_id);
  if (!guest) return complain(guest.error());
  const auto asked = metrics::ask_all({*guest}, request);
  // Nothing has looked at the answer yet. The guest can have taken over its monitor.
  sandbox::confine_reader();
  const auto page = asked.front().answer.and_then(decode_answer).and_then([&](const Json& answer) {
    return metrics::page_of(*guest, answer);
  });
  if (!page) return complain(guest->name + ": " + page.error());
  fmt::print("{}", page->text());
  return exit_powered_off;
}

/// All that the user may ask. Of two with one name, the user's own: a name is a label, and makes one series.
tl::expected<std::vector<RunningGuest>, std::string> guests_by_name() {
  auto guests = reachable_guests();
  if (!guests) return guests;
  std::vector<RunningGuest> named;
  std::set<std::string> names;
  for (RunningGuest& guest : *guests)
    if (names.insert(guest.name).second) named.push_back(std::move(guest));
  return named;
}

int print_all() {
  const auto guests = guests_by_name();
  if (!guests) return complain(guests.error());
  const auto asked = metrics::ask_all(*guests, request);
  sandbox::confine_reader();
  fmt::print("{}", metrics::page_of(asked).text());
  return exit_powered_off;
}

/// A page for the server. A child that can reach nothing looks at the answers.
tl::expected<std::string, std::string> make_page() {
  const auto guests = guests_by_name();
  if (!guests) return tl::unexpected(guests.error());
  const auto asked = metrics::ask_all(*guests, request);
  return run_in_child([&] { return metrics::page_of(asked).text(); },
                      [](int) {
                        return sandbox::confine_helper(sandbox::Helper::reader).has_value() ||
                               sandbox::confines_nothing();
                      });
}

int listen(const std::string& address) {
  // A place for the sockets that can't be used is an error now, not one of each page.
  if (const auto guests = reachable_guests(); !guests) return complain(guests.error());
  const auto http = metrics::HttpLibrary::load();
  if (!http) return complain(http.error());
  const auto listening = metrics::listen_at(address);
  if (!listening) return complain(listening.error());
  if (const int error = sandbox::drop_privileges(); error != 0)
    return complain(fmt::format("--listen: capabilities: {}", std::strerror(error)));
  fmt::print(stderr, "pinfold: metrics of all guests at http://{}/metrics\n", listening->text);
  return metrics::serve(*http, *listening, make_page);
}

int show(const Options& options) {
  if (!options.listen.empty()) return listen(options.listen);
  return options.guest.empty() ? print_all() : print_one(options.guest);
}

}  // namespace

void add_metrics(CLI::App& app, Action& action) {
  const auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "metrics", "Print what running guests did so far in Prometheus's text format, or serve it over HTTP");
  CLI::Option* guest =
      command->add_option("GUEST", o->guest, "The guest's name or ID; all guests without it");
  command
      ->add_option("--listen", o->listen,
                   "Serve the metrics of all guests at http://ADDRESS:PORT/metrics until SIGTERM; "
                   "the address is numeric, port 0 is any free one")
      ->excludes(guest)
      ->check([](const std::string& text) {
        return metrics::is_address(text) ? std::string()
                                         : "an address such as 127.0.0.1:9777 or [::1]:9777, not " + text;
      })
      ->type_name("ADDRESS:PORT");
  command->callback([&action, o] { action = [o] { return show(*o); }; });
}

}  // namespace pinfold::cli
