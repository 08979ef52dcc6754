// The parts of a message's payload.
#pragma once

#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "pvmmu/errno.hpp"

namespace pinfold::devices::xenstore {

/// The answer to a request that has nothing to tell.
inline const std::string ok("OK\0", 3);

inline std::string with_nul(std::string text) {
  text += '\0';
  return text;
}

/// The NUL-terminated strings of a payload; EINVAL when the last one is not terminated or there are none.
[[nodiscard]] inline tl::expected<std::vector<std::string_view>, Errno> strings(std::string_view payload) {
  if (payload.empty() || payload.back() != '\0') return fail(Errno::einval);
  std::vector<std::string_view> all;
  while (!payload.empty()) {
    const auto end = payload.find('\0');
    all.push_back(payload.substr(0, end));
    payload.remove_prefix(end + 1);
  }
  return all;
}

/// The same; EINVAL as well if there are more or fewer than `count`.
[[nodiscard]] inline tl::expected<std::vector<std::string_view>, Errno> strings(std::string_view payload,
                                                                                std::size_t count) {
  auto all = strings(payload);
  if (all && all->size() != count) return fail(Errno::einval);
  return all;
}

/// A decimal number, and nothing else; EINVAL otherwise.
template <class Number>
[[nodiscard]] tl::expected<Number, Errno> number(std::string_view text) {
  Number value{};
  const auto* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end) return fail(Errno::einval);
  return value;
}

[[nodiscard]] inline tl::expected<std::string, Errno> ok_or_error(const Status& status) {
  if (!status) return fail(status.error());
  return ok;
}

}  // namespace pinfold::devices::xenstore
