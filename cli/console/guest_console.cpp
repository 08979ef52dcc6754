#include "cli/console/guest_console.hpp"

#include <utility>
#include <vector>

namespace pinfold::cli {

tl::expected<std::unique_ptr<GuestConsole>, std::string> GuestConsole::open(const ConsoleOptions& options,
                                                                            const vmm::Fd& listener,
                                                                            ConsoleHub::Lossless lossless) {
  std::unique_ptr<GuestConsole> console(
      new GuestConsole(options.place == ConsolePlace::stdio ? std::move(lossless) : ConsoleHub::Lossless{}));
  if (options.place == ConsolePlace::pty) {
    auto pty = open_pty();
    if (!pty) return tl::unexpected(pty.error());
    console->pty_ = std::move(*pty);
  }
  if (!options.log.empty()) {
    auto files = LogFiles::open(options);
    if (!files) return tl::unexpected("--console-log: " + files.error());
    console->log_.emplace(console->hub_, std::move(*files));
  }
  console->server_.emplace(console->hub_, listener, std::move(console->pty_.master));
  return console;
}

void GuestConsole::announce(devices::xenstore::Store& store, DomId domain) const {
  if (terminal().empty()) return;
  using devices::xenstore::Permission;
  const auto tty = devices::xenstore::Path::of_domain(domain).child("console").child("tty");
  (void)store.write(
      tty, terminal(),
      devices::xenstore::Permissions(std::vector<Permission>{{DomId(0)}, {domain, true, false}}));
}

void GuestConsole::close() {
  server_->close();
  log_.reset();
}

}  // namespace pinfold::cli
