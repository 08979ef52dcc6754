// A guest's console on the host: everything that reads it and types into it, besides stdin and stdout.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>

#include "cli/console/hub.hpp"
#include "cli/console/log.hpp"
#include "cli/console/options.hpp"
#include "cli/console/pty.hpp"
#include "cli/console/server.hpp"
#include "devices/xenstore/store.hpp"

namespace pinfold::cli {

/// What a console needs by a path, open.
struct ConsoleFiles {
  Pty pty;  ///< Not open: the console is elsewhere.
  std::optional<LogFiles> log;

  /// An error is one line.
  [[nodiscard]] static tl::expected<ConsoleFiles, std::string> open(const ConsoleOptions& options);
};

class GuestConsole {
 public:
  /// `lossless` may make the guest wait: stdout; empty: the console is elsewhere. `listener`, which outlives
  /// this, is the socket for `pinfold console`; it need not be open.
  GuestConsole(ConsoleFiles files, const vmm::Fd& listener, ConsoleHub::Lossless lossless);

  /// The guest's output (devices::ConsoleSink).
  [[nodiscard]] std::size_t offer(std::span<const std::byte> bytes) { return hub_.offer(bytes); }
  /// The terminal's path; empty: there is none.
  [[nodiscard]] const std::string& terminal() const { return pty_.path; }
  /// Writes console/tty, where a toolstack finds the terminal.
  void announce(devices::xenstore::Store& store, DomId domain) const;
  /// From here on readers come and type.
  void start(Attachment::Input input) {
    started_ = true;
    server_.start(std::move(input));
  }
  [[nodiscard]] bool started() const { return started_; }
  /// The guest has printed its last: the log is complete.
  void finish_log() { log_.reset(); }
  /// Those who are attached now have to come again.
  void disconnect_readers() { server_.disconnect_clients(); }
  /// Readers get what is left, and are disconnected.
  void close() { server_.close(); }

 private:
  ConsoleHub hub_;
  Pty pty_;
  ConsoleServer server_;
  std::optional<ConsoleLog> log_;
  bool started_ = false;
};

}  // namespace pinfold::cli
