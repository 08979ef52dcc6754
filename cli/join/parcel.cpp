#include "cli/join/parcel.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "cli/supervisor/handover.hpp"

namespace pinfold::cli::join {
namespace {

constexpr int all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
constexpr std::size_t longest_text = std::size_t{1} << 20;

using Failed = tl::unexpected<std::string>;

/// A byte, and the descriptors that came with it.
tl::expected<unsigned, std::string> receive_byte(const vmm::Fd& socket, Descriptors& to) {
  pollfd ready{socket.get(), POLLIN, 0};
  std::array<char, 1> byte{};
  if (::poll(&ready, 1, 0) != 1 || receive(socket, byte, to) != 1)
    return Failed("the guest's parts have not all come");
  return static_cast<unsigned char>(byte[0]);
}

}  // namespace

vmm::Fd sealed_file(std::span<const std::byte> bytes) {
  vmm::Fd file(::memfd_create("pinfold-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  while (file.open() && !bytes.empty()) {
    const ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
    if (n <= 0) return {};
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  if (!file.open() || ::fcntl(file.get(), F_ADD_SEALS, all_seals) != 0) return {};
  return file;
}

tl::expected<std::size_t, std::string> size_of_sealed(const vmm::Fd& file) {
  struct stat is {};
  const int seals = ::fcntl(file.get(), F_GET_SEALS);  // -1: it is a file of some file system
  // Not the C library's fstat(2), which may be a call that takes a path, too.
  if (!file.open() || ::syscall(SYS_fstat, file.get(), &is) != 0 || !S_ISREG(is.st_mode) || seals < 0 ||
      (seals & all_seals) != all_seals)
    return Failed("a file that is to be read can be changed");
  return static_cast<std::size_t>(is.st_size);
}

bool send_parcel(const vmm::Fd& socket, std::string_view text, const std::vector<int>& files) {
  const vmm::Fd about = sealed_file(std::as_bytes(std::span(text)));
  if (!about.open() || files.size() > most_files) return false;
  const std::array<int, 1> first{about.get()};
  const auto count = static_cast<char>(files.size());
  if (!send_with(socket, {&count, 1}, first)) return false;
  for (std::span<const int> rest = files; !rest.empty();) {
    const auto some = rest.first(std::min(rest.size(), most_descriptors));
    if (!send_with(socket, std::string_view("", 1), some)) return false;
    rest = rest.subspan(some.size());
  }
  return true;
}

tl::expected<Parcel, std::string> receive_parcel(const vmm::Fd& socket) {
  Parcel parcel;
  Descriptors about;
  const auto count = receive_byte(socket, about);
  if (!count) return Failed(count.error());
  if (about.size() != 1 || *count > most_files) return Failed("this is no guest");
  const auto size = size_of_sealed(about.front());
  if (!size) return Failed(size.error());
  if (*size > longest_text) return Failed("this is no guest");
  parcel.text = bytes_of(about.front());
  while (parcel.files.size() < *count)
    if (const auto more = receive_byte(socket, parcel.files); !more) return Failed(more.error());
  if (parcel.files.size() != *count) return Failed("this is no guest");
  return parcel;
}

}  // namespace pinfold::cli::join
