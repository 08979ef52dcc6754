#include "loader/kernel_file.hpp"

#include <cstdint>
#include <cstring>

#include "loader/bzimage.hpp"
#include "loader/elf_image.hpp"
#include "loader/unpack.hpp"

namespace pinfold::loader {
namespace {

constexpr std::size_t max_file_bytes = std::size_t{1} << 30;

/// Every payload ends in its unpacked size, modulo 2^32 (Linux, Documentation/x86/boot.rst, payload_length).
/// LZ4's legacy frame has no other way to tell that it is whole.
std::uint32_t size_word(std::span<const std::byte> payload) {
  std::uint32_t said = 0;
  std::memcpy(&said, payload.data() + payload.size() - sizeof said, sizeof said);
  return said;
}

/// Where the stream is. Its magic has been seen, so it is longer than a word.
UnpackedKernel lzo_stream(std::span<const std::byte> file, std::span<const std::byte> packed, bool bz) {
  LzoStream lzo;
  if (bz) {
    lzo.unpacked_size = size_word(packed);
    packed = packed.first(packed.size() - sizeof *lzo.unpacked_size);
  }
  return {static_cast<std::size_t>(packed.data() - file.data()), packed.size(), {}, false, lzo};
}

Loaded<void> check_size_word(std::uint32_t said, std::size_t unpacked) {
  if (said == static_cast<std::uint32_t>(unpacked)) return {};
  return refuse("bzImage is damaged: its payload unpacks to " + std::to_string(unpacked) +
                " bytes instead of " + std::to_string(said));
}

UnpackedKernel in_place(std::span<const std::byte> file, std::span<const std::byte> elf) {
  return {static_cast<std::size_t>(elf.data() - file.data()), elf.size(), {}, false, {}};
}

}  // namespace

Loaded<UnpackedKernel> unpack_kernel(std::span<const std::byte> file, const Progress& progress) {
  if (is_elf(file)) return in_place(file, file);
  const bool bz = is_bzimage(file);
  auto packed = file;
  if (bz) {
    const auto payload = bzimage_payload(file);
    if (!payload) return tl::unexpected(payload.error());
    if (is_elf(*payload)) return in_place(file, *payload);
    packed = *payload;
  }
  const Packing packing = packing_of(packed);
  if (!bz && packing == Packing::none) return refuse("not a kernel: neither a bzImage nor an ELF file");
  if (packing == Packing::lzo) return lzo_stream(file, packed, bz);
  auto bytes = unpack(packed, progress);
  if (!bytes) return tl::unexpected(bytes.error());
  if (bz) {
    if (auto fine = check_size_word(size_word(packed), bytes->bytes().size()); !fine)
      return tl::unexpected(fine.error());
  }
  // Unpacking LZ4 takes hardly longer than looking it up: not worth the disk.
  return UnpackedKernel{0, 0, std::move(*bytes), packing != Packing::lz4_legacy, {}};
}

Loaded<KernelFile> KernelFile::open(const std::filesystem::path& path, const Progress& progress,
                                    const UnpackCache& cache, const Unpacker& unpack) {
  KernelFile kernel(path);
  if (auto done = kernel.read(progress, cache, unpack); !done)
    return refuse(kernel.about(done.error().message));
  return kernel;
}

Loaded<void> KernelFile::read(const Progress& progress, const UnpackCache& cache, const Unpacker& unpack) {
  report(progress, "reading the kernel", 0);
  auto file = Buffer::read_file(path_, max_file_bytes);
  if (!file) return tl::unexpected(file.error());
  if (is_elf(file->bytes())) {
    size_ = file->bytes().size();
    bytes_ = std::move(*file);
    return {};
  }
  if (auto known = cache.find(file->bytes())) {
    size_ = known->bytes().size();
    bytes_ = std::move(*known);
    return {};
  }
  auto unpacked = unpack(file->bytes(), progress);
  if (!unpacked) return tl::unexpected(unpacked.error());
  if (unpacked->lzo) return refuse(lzo_is_for_others);
  if (unpacked->bytes.bytes().empty()) {
    if (unpacked->offset > file->bytes().size() || unpacked->size > file->bytes().size() - unpacked->offset)
      return refuse("not a kernel: its ELF file lies outside of it");
    offset_ = unpacked->offset;
    size_ = unpacked->size;
    bytes_ = std::move(*file);
    return {};
  }
  if (unpacked->slow) cache.keep(file->bytes(), unpacked->bytes.bytes());
  bytes_ = std::move(unpacked->bytes);
  size_ = bytes_.bytes().size();
  return {};
}

std::string KernelFile::about(const std::string& message) const {
  return printable(path_.native(), 200) + ": " + message;
}

}  // namespace pinfold::loader
