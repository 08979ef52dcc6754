// xenstore's messages: one request in, one reply out (xen/io/xs_wire.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "devices/xen_abi.hpp"
#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenstore {

/// A message without its framing.
struct Message {
  std::uint32_t type = XS_INVALID;
  std::uint32_t request = 0;  ///< the client's number for it, given back in the reply
  TransactionId transaction;
  std::string payload;  ///< at most XENSTORE_PAYLOAD_MAX bytes

  /// Header and payload as they travel.
  [[nodiscard]] std::string wire() const;
};

/// What a guest's message means. Whatever the message says there is a reply; a payload that makes no sense
/// gets EINVAL.
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
  [[nodiscard]] Answer end_transaction(const Message& request);
  [[nodiscard]] Answer about_domain(const Message& request);

  Store& store_;
  ClientId client_;
  DomId domain_;
};

}  // namespace pinfold::devices::xenstore
