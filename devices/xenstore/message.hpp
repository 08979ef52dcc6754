// xenstore's messages as they travel: a header, and a payload of at most XENSTORE_PAYLOAD_MAX bytes
// (xen/io/xs_wire.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

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

/// Puts messages together from the bytes of a client, which come in any pieces. It holds one message at most.
class MessageReader {
 public:
  /// How many bytes are missing to the end of the header, or of the message once the header is there. 0 if
  /// the message is complete or too_long().
  [[nodiscard]] std::size_t missing() const;
  /// At most missing() bytes.
  void add(std::span<const std::byte> bytes);
  /// The header announces more than XENSTORE_PAYLOAD_MAX bytes: the client can't be understood any more.
  [[nodiscard]] bool too_long() const;
  /// The message, once it is complete; the next one starts.
  [[nodiscard]] std::optional<Message> take();
  void clear() { bytes_.clear(); }

 private:
  [[nodiscard]] std::optional<xsd_sockmsg> header() const;
  std::string bytes_;
};

}  // namespace pinfold::devices::xenstore
