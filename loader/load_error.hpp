// Why an image could not be loaded, and how loading tells how far it is.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace pinfold::loader {

/// One line for a human, without a final full stop or newline; bytes that came from the image are made
/// printable.
struct LoadError {
  std::string message;
};

template <class T>
using Loaded = tl::expected<T, LoadError>;

[[nodiscard]] inline tl::unexpected<LoadError> refuse(std::string message) {
  return tl::unexpected<LoadError>(LoadError{std::move(message)});
}

/// Called now and then with what is being done and how much of that is done, 0 to 1. May be empty.
using Progress = std::function<void(std::string_view what, double fraction)>;

inline void report(const Progress& progress, std::string_view what, double fraction) {
  if (progress) progress(what, fraction);
}

/// Text from an untrusted file, fit for one line of a terminal: other than printable ASCII becomes '?', and
/// what exceeds `limit` characters is cut.
[[nodiscard]] inline std::string printable(std::string_view text, std::size_t limit = 64) {
  std::string out(text.substr(0, limit));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  if (text.size() > limit) out += "...";
  return out;
}

}  // namespace pinfold::loader
