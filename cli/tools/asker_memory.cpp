#include "cli/tools/asker_memory.hpp"

#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <climits>
#include <string_view>

namespace pinfold::cli::tools {
namespace {

iovec there(std::uint64_t address, std::uint64_t length) {
  return {reinterpret_cast<void*>(address), length};  // of the other process
}

}  // namespace

tl::expected<std::string, int> read_text(pid_t asker, std::uint64_t address) {
  // To the end of a page at a time: what follows it may not be mapped.
  constexpr std::uint64_t page = 4096;
  std::string all;
  while (all.size() < PATH_MAX) {
    std::array<char, page> piece{};
    const std::uint64_t length = page - address % page;
    const iovec here{piece.data(), length};
    const iovec its = there(address, length);
    const auto got = ::process_vm_readv(asker, &here, 1, &its, 1, 0);
    if (got <= 0) return tl::unexpected(got == 0 ? EFAULT : errno);
    const std::string_view text(piece.data(), static_cast<std::size_t>(got));
    all += text.substr(0, text.find('\0'));
    if (text.find('\0') != std::string_view::npos) return all;
    address += length;
  }
  return tl::unexpected(ENAMETOOLONG);
}

tl::expected<void, int> write_bytes(pid_t asker, std::uint64_t address, std::span<const std::byte> bytes) {
  const iovec here{const_cast<std::byte*>(bytes.data()), bytes.size()};  // only read
  const iovec its = there(address, bytes.size());
  const auto done = ::process_vm_writev(asker, &here, 1, &its, 1, 0);
  if (done < 0) return tl::unexpected(errno);
  if (static_cast<std::size_t>(done) != bytes.size()) return tl::unexpected(EFAULT);
  return {};
}

}  // namespace pinfold::cli::tools
