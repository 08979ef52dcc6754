#include "cli/join/elf_names.hpp"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <limits>
#include <new>
#include <string_view>

#include "cli/symbol_file.hpp"
#include "loader/buffer.hpp"
#include "loader/elf_symbols.hpp"
#include "loader/regular_file.hpp"
#include "sandbox/confined_child.hpp"

namespace pinfold::cli::join {
namespace {

/// A kernel with its debug information has some 500 MiB, of which the child looks at the tables of symbols.
constexpr sandbox::ChildBounds bounds{std::chrono::seconds(300), std::uint64_t{8} << 30};
constexpr int most_patience = 300'000;  ///< Milliseconds in which the child may say nothing; it can't sleep.
/// What the child says first: whether names follow, or what is wrong.
constexpr char names_follow = '+', error_follows = '-';

void say(int to_parent, char first, std::string_view text) {
  std::string all(1, first);
  all += text;
  for (std::string_view left = all; !left.empty();) {
    const ssize_t n = ::write(to_parent, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    left.remove_prefix(static_cast<std::size_t>(n));
  }
}

void read_and_say(std::span<const std::byte> file, int to_parent) {
  try {
    const auto names = loader::function_list(file);
    say(to_parent, names ? names_follow : error_follows, names ? *names : names.error().message);
  } catch (const std::bad_alloc&) {
    say(to_parent, error_follows, "reading it takes too much memory");
  }
}

/// To the child's end; at most as much as a map has, and a byte.
std::string all_that_is_said(int from_child) {
  std::string said;
  std::array<char, 1 << 16> piece{};
  while (said.size() <= most_bytes_of_map) {
    pollfd ready{from_child, POLLIN, 0};
    const int found = ::poll(&ready, 1, most_patience);
    if (found < 0 && errno == EINTR) continue;
    const ssize_t n = found <= 0 ? 0 : ::read(from_child, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    said.append(piece.data(), static_cast<std::size_t>(n));
  }
  return said;
}

}  // namespace

tl::expected<std::string, std::string> names_in_elf(const std::filesystem::path& path, sandbox::Mode mode) {
  const auto wrong = [&](const std::string& why) { return tl::unexpected(path.string() + ": " + why); };
  const auto file = loader::RegularFile::open(path, std::numeric_limits<off_t>::max());
  if (!file) return wrong(file.error().message);
  const auto mapped = loader::Buffer::map_descriptor(file->fd(), file->size());
  if (!mapped) return wrong(mapped.error().message);
  auto child = sandbox::ConfinedChild::start(
      mode, bounds, [&](int to_parent) { read_and_say(mapped->bytes(), to_parent); });
  if (!child) return wrong(child.error());
  std::string said = all_that_is_said(child->from_child().get());
  if (said.empty()) return wrong("the process that reads it failed: " + child->end());
  const bool has_names = said.front() == names_follow && said.size() <= most_bytes_of_map;
  if (!has_names && said.front() == error_follows) return wrong(loader::printable(said.substr(1), 400));
  if (!has_names) return wrong("names too many functions");
  said.erase(0, 1);
  return said;
}

}  // namespace pinfold::cli::join
