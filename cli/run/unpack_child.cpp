#include "cli/run/unpack_child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>

#include "cli/run/lzo_kernel.hpp"
#include "loader/unpack.hpp"
#include "sandbox/confined_child.hpp"

namespace pinfold::cli {
namespace {

using loader::Loaded;
using loader::refuse;
using loader::UnpackedKernel;

/// A decompression bomb ends long before. An emulated processor needs half a minute for Debian's kernel.
constexpr sandbox::ChildBounds bounds{std::chrono::seconds(300), std::uint64_t{4} << 30};
/// How long the child may say nothing. It can't sleep, so that this is for a host that hardly lets it run.
constexpr std::chrono::seconds most_patience(300);

/// What the child writes, in pieces that a pipe does not divide (PIPE_BUF).
struct Message {
  enum class Kind : std::uint32_t { progress, in_place, unpacked, failed, lzo };
  Kind kind = Kind::failed;
  std::uint32_t slow = 0;
  double fraction = 0;
  std::uint64_t offset = 0, size = 0;
  std::uint32_t knows_unpacked_size = 0, unpacked_size = 0;  ///< Of an LzoStream.
  std::array<char, 472> text{};                              ///< Up to a NUL.
};
static_assert(sizeof(Message) == 512);

// -- the child

/// A pipe can take pages as they are; where it can't, bytes are copied into it.
ssize_t put(int to_parent, std::span<const std::byte> bytes) {
  const iovec pages{const_cast<std::byte*>(bytes.data()), bytes.size()};
  const ssize_t n = ::vmsplice(to_parent, &pages, 1, 0);
  return n < 0 && errno != EINTR ? ::write(to_parent, bytes.data(), bytes.size()) : n;
}

bool put_all(int to_parent, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = put(to_parent, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

void tell(int to_parent, Message message, std::string_view text = {}) {
  std::copy_n(text.begin(), std::min(text.size(), message.text.size() - 1), message.text.begin());
  (void)!::write(to_parent, &message, sizeof message);
}

Message place_of(const UnpackedKernel& kernel) {
  Message message{.kind = Message::Kind::in_place, .offset = kernel.offset, .size = kernel.size};
  if (!kernel.lzo) return message;
  message.kind = Message::Kind::lzo;
  message.knows_unpacked_size = kernel.lzo->unpacked_size.has_value();
  message.unpacked_size = kernel.lzo->unpacked_size.value_or(0);
  return message;
}

void unpack_and_tell(std::span<const std::byte> file, int to_parent) {
  try {
    const auto unpacked = loader::unpack_kernel(file, [&](std::string_view what, double fraction) {
      tell(to_parent, {.kind = Message::Kind::progress, .fraction = fraction}, what);
    });
    if (!unpacked) return tell(to_parent, {}, unpacked.error().message);
    const auto bytes = unpacked->bytes.bytes();
    if (bytes.empty()) return tell(to_parent, place_of(*unpacked));
    tell(to_parent, {.kind = Message::Kind::unpacked, .slow = unpacked->slow, .size = bytes.size()});
    (void)put_all(to_parent, bytes);
  } catch (const std::bad_alloc&) {
    tell(to_parent, {}, "unpacking it takes too much memory");
  }
}

// -- the parent

std::string text_of(const Message& message) {
  return loader::printable({message.text.data(), ::strnlen(message.text.data(), message.text.size())}, 400);
}

/// Fills `bytes` with what the child says next; false: it says no more, or nothing for too long.
bool take(const vmm::Fd& from_child, std::span<std::byte> bytes, std::chrono::milliseconds patience) {
  while (!bytes.empty()) {
    pollfd ready{from_child.get(), POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(patience.count())) == 0) return false;
    const ssize_t n = ::read(from_child.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

std::optional<Message> next(const vmm::Fd& from_child, std::chrono::milliseconds patience) {
  Message message;
  if (!take(from_child, std::as_writable_bytes(std::span(&message, 1)), patience)) return std::nullopt;
  return message;
}

/// The bytes that follow the message; nullopt: not as many as it says, or more than a kernel has.
std::optional<Loaded<UnpackedKernel>> result_after(const Message& message, const vmm::Fd& from_child,
                                                   std::chrono::milliseconds patience) {
  if (message.size == 0 || message.size > loader::max_unpacked_bytes) return std::nullopt;
  auto bytes = loader::Buffer::reserve(message.size);
  if (!bytes) return tl::unexpected(bytes.error());
  if (!take(from_child, bytes->writable(), patience)) return std::nullopt;
  return UnpackedKernel{0, 0, std::move(*bytes), message.slow != 0, {}};
}

loader::LzoStream lzo_of(const Message& message) {
  loader::LzoStream lzo;
  if (message.knows_unpacked_size != 0) lzo.unpacked_size = message.unpacked_size;
  return lzo;
}

}  // namespace

Loaded<UnpackedKernel> unpack_in_child(std::span<const std::byte> file, const loader::Progress& progress,
                                       sandbox::Mode mode) {
  auto kernel = unpack_by(file, progress, unpack_and_tell, most_patience, mode);
  return kernel && kernel->lzo ? unpack_with_lzop(file, *kernel, progress) : std::move(kernel);
}

Loaded<UnpackedKernel> unpack_by(std::span<const std::byte> file, const loader::Progress& progress,
                                 const ChildWork& work, std::chrono::seconds patience, sandbox::Mode mode) {
  auto child = sandbox::ConfinedChild::start(mode, bounds, [&](int to_parent) { work(file, to_parent); });
  if (!child) return refuse("it can't be unpacked: " + child.error());
  while (const auto message = next(child->from_child(), patience)) {
    if (message->kind == Message::Kind::progress) {
      if (message->fraction >= 0 && message->fraction <= 1)
        loader::report(progress, text_of(*message), message->fraction);
      continue;
    }
    if (message->kind == Message::Kind::in_place)
      return UnpackedKernel{message->offset, message->size, {}, false, {}};
    if (message->kind == Message::Kind::lzo)
      return UnpackedKernel{message->offset, message->size, {}, false, lzo_of(*message)};
    if (message->kind == Message::Kind::failed) return refuse(text_of(*message));
    if (message->kind == Message::Kind::unpacked)
      if (auto result = result_after(*message, child->from_child(), patience)) return std::move(*result);
    break;
  }
  return refuse("the process that unpacks it failed: " + child->end());
}

}  // namespace pinfold::cli
