#include "cli/manual/pages.hpp"

#include <fmt/format.h>

#include "cli/manual/roff.hpp"

namespace pinfold::cli::manual {
namespace {

constexpr const char* files_and_environment = R"(.SH FILES
.TP
.I /etc/pinfold/NAME.cfg
The guest that the service
.B pinfold@NAME
runs; see
.BR pinfold.cfg (5).
.TP
.I /run/pinfold
Control sockets of guests that are services. Members of the group
.B pinfold
may use them.
.TP
.I $XDG_RUNTIME_DIR/pinfold
Control sockets of the user\(aqs own guests.
.TP
.I $XDG_STATE_HOME/pinfold/NAME.log
Messages of a guest that
.BR pinfold\-create (1)
started.
.SH ENVIRONMENT
.TP
.B PINFOLD_CACHE
Where unpacked kernels are kept; empty: nowhere. Without it,
.I $XDG_CACHE_HOME/pinfold
or
.I \(ti/.cache/pinfold
is used.
.TP
.B PINFOLD_RUNTIME_DIR
Where the control sockets of guests are, in place of the places above.
)";

std::string with_full_stop(std::string text) {
  if (!text.empty() && text.back() != '.') text += '.';
  return text;
}

std::string text_of(const DescribedOption& option) {
  std::string text = with_full_stop(plain(option.about));
  if (!option.limits.empty()) text += " " + plain(option.limits);
  if (!option.preset.empty()) text += fmt::format(" The default is {}.", plain(option.preset));
  return text + "\n";
}

std::string entry_of(const DescribedOption& option) {
  std::string names;
  for (const std::string& name : option.names) names += (names.empty() ? "" : ", ") + bold(name);
  if (!option.value.empty())
    names += option.value_may_be_missing ? "[=" + italic(option.value) + "]" : " " + italic(option.value);
  return ".TP\n" + names + "\n" + text_of(option);
}

std::string entry_of_positional(const DescribedOption& option) {
  return ".TP\n" + italic(option.names[0]) + "\n" + text_of(option);
}

std::string synopsis_of(const DescribedCommand& command) {
  std::string text = ".SH SYNOPSIS\n" + bold("pinfold " + command.name) + " [" + italic("OPTION") + "]...";
  for (const DescribedOption& positional : command.positionals) {
    const std::string word = italic(positional.names[0]) + (positional.several ? "..." : "");
    text += " " + (positional.required ? word : "[" + word + "]");
  }
  return text + "\n";
}

/// From the help's "Exit codes: 0 …; 1 …."; another text is a paragraph. The codes that need it have no
/// semicolon in their explanations.
std::string exit_status_of(std::string footer) {
  constexpr std::string_view mark = "Exit codes: ";
  if (footer.empty()) return {};
  if (!footer.starts_with(mark)) return ".PP\n" + plain(footer) + "\n";
  footer.erase(0, mark.size());
  std::string text = ".SH EXIT STATUS\n";
  for (std::size_t at = 0, end = 0; end != std::string::npos; at = end + 2) {
    end = footer.find("; ", at);
    const std::string one = footer.substr(at, end == std::string::npos ? end : end - at);
    const auto space = one.find(' ');
    text += ".TP\n" + bold(one.substr(0, space)) + "\n" + with_full_stop(plain(one.substr(space + 1))) + "\n";
  }
  return text;
}

std::string options_of(const DescribedCommand& command) {
  std::string text = ".SH OPTIONS\n";
  for (const DescribedOption& option : command.options) text += entry_of(option);
  return text;
}

}  // namespace

std::string program_page(const DescribedCommand& program, const std::vector<DescribedCommand>& commands,
                         const Edition& edition) {
  std::string text = page_head("pinfold", 1, edition.version, edition.date, program.about);
  text += ".SH SYNOPSIS\n.B pinfold\n" + italic("COMMAND") + " [" + italic("OPTION") + "]...\n";
  text += ".SH DESCRIPTION\n" + with_full_stop(plain(program.about)) + "\n.SH COMMANDS\n";
  for (const DescribedCommand& command : commands)
    text += ".TP\n" + bold("pinfold-" + command.name) + "(1)\n" + with_full_stop(plain(command.about)) + "\n";
  text += options_of(program) + exit_status_of(program.footer) + files_and_environment;
  return text + ".SH SEE ALSO\n.BR pinfold.cfg (5)\n";
}

std::string command_page(const DescribedCommand& command, const Edition& edition) {
  std::string text = page_head("pinfold-" + command.name, 1, edition.version, edition.date, command.about);
  text += synopsis_of(command) + ".SH DESCRIPTION\n" + with_full_stop(plain(command.about)) + "\n";
  for (const DescribedOption& positional : command.positionals) text += entry_of_positional(positional);
  text += options_of(command) + exit_status_of(command.footer);
  return text + ".SH SEE ALSO\n.BR pinfold (1),\n.BR pinfold.cfg (5)\n";
}

}  // namespace pinfold::cli::manual
