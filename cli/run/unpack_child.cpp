#include "cli/run/unpack_child.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>

#include "cli/sandbox/confined_child.hpp"
#include "loader/unpack.hpp"

namespace pinfold::cli {
namespace {

using loader::Loaded;
using loader::refuse;
using loader::UnpackedKernel;

/// A decompression bomb ends long before. An emulated processor needs half a minute for Debian's kernel.
constexpr sandbox::ChildBounds bounds{std::chrono::seconds(300), std::uint64_t{4} << 30,
                                      loader::max_unpacked_bytes};
/// How long the child may say nothing. It can't sleep, so that this is for a host that hardly lets it run.
constexpr std::chrono::seconds most_patience(300);

/// What the child writes, in pieces that a pipe does not divide (PIPE_BUF).
struct Message {
  enum class Kind : std::uint32_t { progress, in_place, unpacked, failed };
  Kind kind = Kind::failed;
  std::uint32_t slow = 0;
  double fraction = 0;
  std::uint64_t offset = 0, size = 0;
  std::array<char, 480> text{};  ///< Up to a NUL.
};
static_assert(sizeof(Message) == 512);

// -- the child

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

void tell(int to_parent, Message message, std::string_view text = {}) {
  std::copy_n(text.begin(), std::min(text.size(), message.text.size() - 1), message.text.begin());
  (void)write_all(to_parent, std::as_bytes(std::span(&message, 1)));
}

void unpack_and_tell(std::span<const std::byte> file, int result, int to_parent) {
  try {
    const auto unpacked = loader::unpack_kernel(file, [&](std::string_view what, double fraction) {
      tell(to_parent, {Message::Kind::progress, 0, fraction, 0, 0, {}}, what);
    });
    if (!unpacked) return tell(to_parent, {}, unpacked.error().message);
    const auto bytes = unpacked->bytes.bytes();
    if (bytes.empty())
      return tell(to_parent, {Message::Kind::in_place, 0, 0, unpacked->offset, unpacked->size, {}});
    if (!write_all(result, bytes)) return tell(to_parent, {}, "the host has not enough memory");
    tell(to_parent, {Message::Kind::unpacked, unpacked->slow, 0, 0, bytes.size(), {}});
  } catch (const std::bad_alloc&) {
    tell(to_parent, {}, "unpacking it takes too much memory");
  }
}

// -- the parent

std::string text_of(const Message& message) {
  return loader::printable({message.text.data(), ::strnlen(message.text.data(), message.text.size())}, 400);
}

/// The next message; nullopt: there is none, or it is not whole.
std::optional<Message> next(const vmm::Fd& from_child, std::chrono::milliseconds patience) {
  std::array<std::byte, sizeof(Message)> bytes{};
  for (std::size_t done = 0; done < bytes.size();) {
    pollfd ready{from_child.get(), POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(patience.count())) == 0) return std::nullopt;
    const ssize_t n = ::read(from_child.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return std::nullopt;
    done += static_cast<std::size_t>(n);
  }
  Message message;
  std::memcpy(&message, bytes.data(), sizeof message);
  return message;
}

/// The child has ended, so that the file keeps its size.
Loaded<UnpackedKernel> result_in(const vmm::Fd& file, const Message& message) {
  struct stat is {};
  if (message.size == 0 || ::fstat(file.get(), &is) != 0 ||
      static_cast<std::uint64_t>(is.st_size) != message.size)
    return refuse("the process that unpacks it gave something else than it said");
  auto bytes = loader::Buffer::map_descriptor(file.get(), message.size);
  if (!bytes) return tl::unexpected(bytes.error());
  return UnpackedKernel{0, 0, std::move(*bytes), message.slow != 0};
}

}  // namespace

Loaded<UnpackedKernel> unpack_in_child(std::span<const std::byte> file, const loader::Progress& progress) {
  return unpack_by(file, progress, unpack_and_tell, most_patience);
}

Loaded<UnpackedKernel> unpack_by(std::span<const std::byte> file, const loader::Progress& progress,
                                 const ChildWork& work, std::chrono::seconds patience) {
  const vmm::Fd result(::memfd_create("pinfold-kernel", MFD_CLOEXEC));
  if (!result.open()) return refuse(std::string("no file in memory: ") + std::strerror(errno));
  auto child = sandbox::ConfinedChild::start(bounds, std::array{result.get()},
                                             [&](int to_parent) { work(file, result.get(), to_parent); });
  if (!child) return refuse("it can't be unpacked: " + child.error());
  while (const auto message = next(child->from_child(), patience)) {
    switch (message->kind) {
      case Message::Kind::progress:
        if (message->fraction >= 0 && message->fraction <= 1)
          loader::report(progress, text_of(*message), message->fraction);
        continue;
      case Message::Kind::in_place: return UnpackedKernel{message->offset, message->size, {}, false};
      case Message::Kind::unpacked: (void)child->end(); return result_in(result, *message);
      case Message::Kind::failed: return refuse(text_of(*message));
    }
    break;
  }
  return refuse("the process that unpacks it failed: " + child->end());
}

}  // namespace pinfold::cli
