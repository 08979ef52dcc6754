// Answers lines on a control socket.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cli/control/socket.hpp"

namespace pinfold::cli {

/// Serves a few clients at a time, on a thread of its own, until destroyed: each line that comes in gets one
/// line back. A client that sends a line longer than `longest_line`, or more descriptors with a line than
/// most_descriptors, or does not take its answer, is dropped.
class ControlServer {
 public:
  static constexpr std::size_t longest_line = 4096;  ///< Bytes, the newline aside.
  static constexpr std::size_t most_clients = 8;

  /// The descriptors are those that came with the line. The function moves out those that it keeps; the
  /// others are closed when it returns.
  using Answer = std::function<std::string(std::string_view line, Descriptors descriptors)>;
  /// `listener`, which does not block, outlives this. `answer` is called on the thread, one line at a time;
  /// its result has no newline.
  ControlServer(const vmm::Fd& listener, Answer answer);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  struct Client {
    vmm::Fd socket;
    std::string received;
    Descriptors descriptors;  ///< Of the line that `received` ends with.
  };
  void loop();
  void accept_client();
  [[nodiscard]] bool serve(Client& client);
  [[nodiscard]] bool answer_lines(Client& client);

  const vmm::Fd& listener_;
  Answer answer_;
  std::vector<Client> clients_;
  vmm::Fd wake_;
  std::thread thread_;
};

}  // namespace pinfold::cli
