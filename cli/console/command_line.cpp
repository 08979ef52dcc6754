#include "cli/console/command_line.hpp"

#include "cli/usage.hpp"

namespace pinfold::cli {

void add_console_options(CLI::App& run, ConsoleOptions& options) {
  add_choice(
      run, "--console", options.place,
      {{"stdio", ConsolePlace::stdio}, {"pty", ConsolePlace::pty}, {"none", ConsolePlace::none}},
      "Where the guest's console is: stdio if not given; a pseudo-terminal; or only where console finds it");
  CLI::Option* log =
      run.add_option("--console-log", options.log,
                     "Write what the guest prints to this file, too; %n in its name is the guest's name")
          ->type_name("FILE");
  run.add_option("--console-log-size", options.log_bytes, "A log of this size becomes an old one, FILE.1")
      ->transform(size_in_bytes())
      ->check(CLI::Range(std::uint64_t{4096}, std::uint64_t{1} << 40))
      ->type_name("SIZE")
      ->default_str("1M")
      ->needs(log);
  run.add_option("--console-log-keep", options.old_logs, "How many old logs are kept")
      ->check(CLI::Range(0U, most_old_logs))
      ->capture_default_str()
      ->needs(log);
}

CLI::App* add_console_command(CLI::App& app, std::string& name) {
  CLI::App* console = app.add_subcommand("console", "Attach to a running guest's console; Ctrl-] detaches");
  console->add_option("NAME", name, "The guest's name, or its ID")->required();
  return console;
}

}  // namespace pinfold::cli
