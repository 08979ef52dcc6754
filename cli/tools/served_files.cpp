#include "cli/tools/served_files.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace pinfold::cli::tools {
namespace {

/// A program that asks for more gets it in pieces; grub-fstest asks for 128 KiB at most.
constexpr std::uint64_t longest_read = 64 << 10;

/// A file of this length that takes no memory, and that nobody can write.
tl::expected<vmm::Fd, int> empty_file(std::uint64_t bytes) {
  // A file above the limit costs the process its life (setrlimit(2)).
  rlimit most{};
  if (::getrlimit(RLIMIT_FSIZE, &most) != 0) return tl::unexpected(errno);
  if (bytes > most.rlim_cur) return tl::unexpected(EFBIG);
  vmm::Fd file(::memfd_create("pinfold-served", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.open() || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
    return tl::unexpected(errno);
  return file;
}

}  // namespace

tl::expected<ServedFiles::Opened, int> ServedFiles::open(ServedFile& file) {
  const auto free =
      std::find_if(places_.begin(), places_.end(), [](const Place& place) { return place.file == nullptr; });
  if (free == places_.end()) return tl::unexpected(EMFILE);
  auto made = empty_file(file.bytes());
  if (!made) return tl::unexpected(made.error());
  *free = {std::move(*made), &file};
  return Opened{free->position.get(), first_served_descriptor + static_cast<int>(free - places_.begin())};
}

ServedFiles::Place* ServedFiles::find(int number) {
  if (number < first_served_descriptor || number >= first_served_descriptor + most_served_descriptors)
    return nullptr;
  Place& place = places_[static_cast<std::size_t>(number - first_served_descriptor)];
  return place.file == nullptr ? nullptr : &place;
}

tl::expected<std::span<const std::byte>, int> ServedFiles::read(int number, std::uint64_t most) {
  const Place* const place = find(number);
  if (place == nullptr) return tl::unexpected(EBADF);
  const off_t at = ::lseek(place->position.get(), 0, SEEK_CUR);
  if (at < 0) return tl::unexpected(EIO);
  const std::uint64_t offset = static_cast<std::uint64_t>(at), bytes = place->file->bytes();
  const std::uint64_t count = std::min({most, longest_read, bytes - std::min(offset, bytes)});
  buffer_.resize(count);
  if (const int error = count == 0 ? 0 : place->file->read(offset, buffer_); error != 0)
    return tl::unexpected(error);
  return buffer_;
}

void ServedFiles::advance(int number, std::size_t bytes) {
  if (const Place* const place = find(number); place != nullptr)
    (void)::lseek(place->position.get(), static_cast<off_t>(bytes), SEEK_CUR);
}

void ServedFiles::close(int number) {
  if (Place* const place = find(number); place != nullptr) *place = {};
}

}  // namespace pinfold::cli::tools
