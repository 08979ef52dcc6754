#include "vmm/memory/mapping.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace pinfold::vmm {
namespace {

int protection(Mapping::Access access) {
  switch (access) {
    case Mapping::Access::none: return PROT_NONE;
    case Mapping::Access::read: return PROT_READ;
    case Mapping::Access::read_write: break;
  }
  return PROT_READ | PROT_WRITE;
}

tl::unexpected<MemoryError> failure(const char* what, std::size_t size) {
  return tl::unexpected(MemoryError{std::string("cannot ") + what + " " + std::to_string(size >> 20) +
                                    " MiB of host memory: " + std::strerror(errno)});
}

}  // namespace

Mapping::~Mapping() {
  if (base_ != nullptr) ::munmap(base_, size_);
}

MemoryResult<Mapping> Mapping::of_file(const Fd& file, std::size_t size, Access access) {
  void* at = ::mmap(nullptr, size, protection(access), MAP_SHARED | MAP_NORESERVE, file.get(), 0);
  if (at == MAP_FAILED) return failure("map", size);
  // A core dump would have the host allocate all that the file could hold.
  (void)::madvise(at, size, MADV_DONTDUMP);
  return Mapping(static_cast<std::byte*>(at), size);
}

MemoryResult<Mapping> Mapping::anonymous(std::size_t size) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return failure("map", size);
  return Mapping(static_cast<std::byte*>(at), size);
}

bool Mapping::populate(std::size_t offset, std::size_t size) {
  return ::madvise(base_ + offset, size, MADV_POPULATE_WRITE) == 0;
}

void Mapping::discard(std::size_t offset, std::size_t size) const {
  (void)::madvise(base_ + offset, size, MADV_REMOVE);  // if the host refuses, the memory stays allocated
}

bool Mapping::set_access(std::size_t offset, std::size_t size, Access access) {
  return ::mprotect(base_ + offset, size, protection(access)) == 0;
}

std::uint64_t max_map_count() {
  std::uint64_t count = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> count;
  return count;
}

MemoryResult<Fd> memory_file(const char* name, std::size_t size) {
  Fd file(::memfd_create(name, MFD_CLOEXEC));
  if (!file.open() || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0) return failure("reserve", size);
  return file;
}

}  // namespace pinfold::vmm
