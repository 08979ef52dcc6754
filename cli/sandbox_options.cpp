#include "cli/sandbox_options.hpp"

#include <grp.h>
#include <pwd.h>

#include <charconv>

#include "cli/usage.hpp"

namespace pinfold::cli {
namespace {

template <class Id>
std::optional<Id> number(std::string_view text) {
  Id id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id == static_cast<Id>(-1))
    return std::nullopt;
  return id;
}

std::optional<gid_t> find_group(const std::string& name) {
  if (const auto id = number<gid_t>(name)) return id;
  const group* const found = ::getgrnam(name.c_str());
  return found != nullptr ? std::optional(found->gr_gid) : std::nullopt;
}

/// USER or USER:GROUP, names or numbers; the group is the user's own if none is given.
tl::expected<sandbox::User, std::string> find_user(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const auto id = number<uid_t>(name);
  const passwd* const found = id ? ::getpwuid(*id) : ::getpwnam(name.c_str());
  if (found == nullptr && !id) return tl::unexpected("there is no user " + name);
  sandbox::User user{id ? *id : found->pw_uid, 0};
  if (colon != std::string::npos) {
    const auto group = find_group(text.substr(colon + 1));
    if (!group) return tl::unexpected("there is no group " + text.substr(colon + 1));
    user.group = *group;
  } else if (found != nullptr) {
    user.group = found->pw_gid;
  } else {
    return tl::unexpected("user " + name + " has no entry, so give a group, too: " + name + ":GROUP");
  }
  if (user.user == 0 || user.group == 0) return tl::unexpected(std::string("root is no user to drop to"));
  return user;
}

}  // namespace

void add_sandbox_options(CLI::App& app, SandboxOptions& options) {
  add_choice<sandbox::Mode>(
      app, "--sandbox", options.mode,
      {{"off", sandbox::Mode::off}, {"log", sandbox::Mode::log}, {"on", sandbox::Mode::on}},
      "Confine the monitor; log: say what would be refused, and confine nothing");
  app.add_option_function<std::string>(
         "--user",
         [&options](const std::string& text) {
           const auto user = find_user(text);
           if (!user) throw CLI::ValidationError("--user", user.error());
           options.user = *user;
         },
         "As root: the monitor becomes this user when it has opened its files")
      ->type_name("USER[:GROUP]");
}

}  // namespace pinfold::cli
