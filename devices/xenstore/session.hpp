// A client of the store that sends and receives a stream of bytes, such as a program of the host on a socket.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "devices/xenstore/message.hpp"
#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenstore {

/// Serves one client, which acts as `domain`. What waits here is bounded: while the client does not take its
/// replies, no more of its requests are read, and its events wait in the store. A client that makes the store
/// drop events, or that sends a message longer than the protocol allows, is to be dropped.
///
/// One thread uses it. The caller calls Store::deliver() after received() and sent().
class Session {
 public:
  /// No reply or event is added to an output of this length, in bytes.
  static constexpr std::size_t most_output = std::size_t{64} * 1024;
  /// How many bytes received() takes at once.
  static constexpr std::size_t most_input = 4096;

  Session(std::shared_ptr<Store> store, DomId domain, const std::weak_ptr<EventListener>& listener);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Is there room for most_input more bytes?
  [[nodiscard]] bool wants_input() const { return input_.empty() && output_.size() < most_output; }
  void received(std::span<const std::byte> bytes);
  /// What is to be sent to the client.
  [[nodiscard]] std::string_view output() const { return output_; }
  /// So many bytes of output() were sent.
  void sent(std::size_t bytes);
  /// Serves requests and takes events as far as there is room for their answers.
  void advance();
  /// Why the client is to be dropped, as part of a sentence; empty: it may stay.
  [[nodiscard]] std::string_view objection() const { return objection_; }

 private:
  void serve_input();

  std::shared_ptr<Store> store_;
  DomId domain_;
  ClientId client_;
  std::string input_;  ///< Received and not looked at yet.
  MessageReader reader_;
  std::string output_;
  std::string_view objection_;
};

}  // namespace pinfold::devices::xenstore
