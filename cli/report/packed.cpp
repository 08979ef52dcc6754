#include "report/packed.hpp"

#include <string_view>
#include <utility>

#include "trace/bytes.hpp"

namespace pinfold::report {
namespace {

constexpr std::uint8_t domain_follows = 64;  ///< In a look's byte.

/// How many there are, and each as it differs from the one before.
template <class Item, class Write>
std::vector<std::byte> pack_each(const std::vector<Item>& items, Write write) {
  std::vector<std::byte> bytes;
  trace::ByteWriter to(bytes);
  to.varint(items.size());
  Item last;
  for (const Item& item : items) write(to, item, std::as_const(last)), last = item;
  return bytes;
}

}  // namespace

std::vector<std::byte> pack(const std::vector<Run>& runs) {
  std::vector<std::byte> bytes;
  trace::ByteWriter to(bytes);
  std::size_t changes = 0;
  for (const Run& run : runs) changes += run.changes.size();
  to.varint(runs.size());
  to.varint(changes);
  std::uint64_t end = 0;
  for (const Run& run : runs) {
    to.varint(run.first - end);
    to.varint(run.count);
    to.varint(run.changes.size());
    end = run.first + run.count;
    std::uint32_t last = 0;
    for (const Change& change : run.changes) {
      to.varint(change.event - last);
      const bool named = change.look.domain != 0;
      to.byte(static_cast<std::uint8_t>(change.look.raw | (named ? domain_follows : 0)));
      if (named) to.byte(change.look.domain);
      last = change.event;
    }
  }
  return bytes;
}

std::vector<std::byte> pack(const std::vector<Link>& links) {
  return pack_each(links, [](trace::ByteWriter& to, const Link& link, const Link& last) {
    to.varint(link.parent - last.parent);
    to.varint(trace::zigzag(std::uint64_t{link.child} - last.child));
    to.varint(link.slot);
    to.varint(link.from);
    to.varint(link.to - link.from);
  });
}

std::vector<std::byte> pack(const std::vector<Loan>& loans) {
  return pack_each(loans, [](trace::ByteWriter& to, const Loan& loan, const Loan& last) {
    to.varint(loan.pair);
    to.varint(loan.writable ? 1 : 0);
    to.varint(loan.slot);
    to.varint(loan.grant);
    to.varint(loan.frame);
    to.varint(loan.table);
    to.varint(loan.from - last.from);
    to.varint(loan.to - loan.from);
  });
}

std::vector<std::byte> pack(const std::vector<TimePoint>& times) {
  return pack_each(times, [](trace::ByteWriter& to, const TimePoint& point, const TimePoint& last) {
    to.varint(point.event - last.event);
    to.varint(point.time - last.time);
  });
}

std::string base64(std::span<const std::byte> bytes) {
  static constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](std::size_t k) {
      return i + k < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0;
    };
    const std::uint32_t three = at(0) << 16 | at(1) << 8 | at(2);
    text += digits[three >> 18];
    text += digits[three >> 12 & 63];
    text += i + 1 < bytes.size() ? digits[three >> 6 & 63] : '=';
    text += i + 2 < bytes.size() ? digits[three & 63] : '=';
  }
  return text;
}

}  // namespace pinfold::report
