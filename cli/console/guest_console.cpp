#include "cli/console/guest_console.hpp"

#include <utility>
#include <vector>

namespace pinfold::cli {

tl::expected<ConsoleFiles, std::string> ConsoleFiles::open(const ConsoleOptions& options) {
  ConsoleFiles files;
  if (options.place == ConsolePlace::pty) {
    auto pty = open_pty();
    if (!pty) return tl::unexpected(pty.error());
    files.pty = std::move(*pty);
  }
  if (!options.log.empty()) {
    auto log = LogFiles::open(options);
    if (!log) return tl::unexpected("--console-log: " + log.error());
    files.log = std::move(*log);
  }
  return files;
}

GuestConsole::GuestConsole(ConsoleFiles files, const vmm::Fd& listener, ConsoleHub::Lossless lossless)
    : hub_(std::move(lossless)), pty_(std::move(files.pty)), server_(hub_, listener, std::move(pty_.master)) {
  if (files.log) log_.emplace(hub_, std::move(*files.log));
}

void GuestConsole::announce(devices::xenstore::Store& store, DomId domain) const {
  if (terminal().empty()) return;
  using devices::xenstore::Permission;
  const auto tty = devices::xenstore::Path::of_domain(domain).child("console").child("tty");
  (void)store.write(
      tty, terminal(),
      devices::xenstore::Permissions(std::vector<Permission>{{DomId(0)}, {domain, true, false}}));
}

}  // namespace pinfold::cli
