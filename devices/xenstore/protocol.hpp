// xenstore's requests: one in, one reply out (docs/xenstore.md; xen/io/xs_wire.h, and Xen's
// docs/misc/xenstore.txt).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "devices/xenstore/message.hpp"
#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenstore {

/// What a client's message means. Whatever the message says there is a reply; a payload that makes no sense
/// gets EINVAL. A client of domain 0 may make the toolstack's requests, too.
class Protocol {
 public:
  Protocol(Store& store, ClientId client, DomId domain) : store_(store), client_(client), domain_(domain) {}

  [[nodiscard]] Message answer(const Message& request);
  /// The message that tells a watch event; nothing if it would be too long to be one.
  [[nodiscard]] static std::optional<Message> tell(const WatchEvent& event);

 private:
  using Answer = tl::expected<std::string, Errno>;
  [[nodiscard]] Answer dispatch(const Message& request);
  [[nodiscard]] Answer on_path(const Message& request);
  [[nodiscard]] Answer read_node(std::uint32_t type, TransactionId tx, const Path& path);
  [[nodiscard]] Answer directory_part(const Message& request);
  [[nodiscard]] Answer write(const Message& request);
  [[nodiscard]] Answer set_permissions(const Message& request);
  [[nodiscard]] Answer watch(const Message& request);
  [[nodiscard]] Answer unwatch(const Message& request);
  [[nodiscard]] Answer start_transaction(const Message& request);
  [[nodiscard]] Answer end_transaction(const Message& request);
  [[nodiscard]] Answer domain_path(const Message& request);

  Store& store_;
  ClientId client_;
  DomId domain_;
};

}  // namespace pinfold::devices::xenstore
