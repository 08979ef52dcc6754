#include "devices/xenstore/message.hpp"

#include <cstring>

namespace pinfold::devices::xenstore {

static_assert(sizeof(xsd_sockmsg) == 16);

std::string Message::wire() const {
  const xsd_sockmsg header{type, request, transaction.raw(), static_cast<std::uint32_t>(payload.size())};
  std::string bytes(sizeof(header), '\0');
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes + payload;
}

std::optional<xsd_sockmsg> MessageReader::header() const {
  if (bytes_.size() < sizeof(xsd_sockmsg)) return std::nullopt;
  xsd_sockmsg header{};
  std::memcpy(&header, bytes_.data(), sizeof(header));
  return header;
}

std::size_t MessageReader::missing() const {
  const auto announced = header();
  if (!announced) return sizeof(xsd_sockmsg) - bytes_.size();
  return too_long() ? 0 : sizeof(xsd_sockmsg) + announced->len - bytes_.size();
}

void MessageReader::add(std::span<const std::byte> bytes) {
  for (const std::byte b : bytes) bytes_.push_back(static_cast<char>(b));
}

bool MessageReader::too_long() const {
  const auto announced = header();
  return announced && announced->len > XENSTORE_PAYLOAD_MAX;
}

std::optional<Message> MessageReader::take() {
  const auto announced = header();
  if (!announced || too_long() || missing() != 0) return std::nullopt;
  Message message{announced->type, announced->req_id, TransactionId(announced->tx_id),
                  bytes_.substr(sizeof(xsd_sockmsg))};
  bytes_.clear();
  return message;
}

}  // namespace pinfold::devices::xenstore
