// Kernels that were unpacked before: unpacking takes a second, comparing and mapping takes some ten
// milliseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "loader/buffer.hpp"

namespace pinfold::loader {

/// Where a user's cache lies, given the environment: `setting` ($PINFOLD_CACHE) if set, else pinfold below
/// `cache_home` ($XDG_CACHE_HOME) or below .cache in `home` ($HOME). Null means not set; an empty setting, or
/// no place at all, gives an empty path: no cache. Relative paths are ignored, as the XDG specification asks.
[[nodiscard]] std::filesystem::path cache_directory(const char* setting, const char* cache_home,
                                                    const char* home);

/// Unpacked payloads, each beside the packed bytes that it came from.
///
/// What a guest gets never depends on the cache: an entry serves only if it holds exactly the payload at
/// hand, byte for byte (so no hash has to be trusted, and none has to be slow), and if the unpacked bytes
/// have the checksum that they were stored with. That checksum guards against accidents (a full disk, a
/// crash, a bad block), not against malice. The directory must belong to the user and be writable by no one
/// else, so that only programs with the user's own rights can change an entry.
///
/// A cache can't fail: without a usable directory there is none, and an entry that is not right is removed.
/// Several processes may use one directory: entries appear whole, by renaming, and are never changed.
class UnpackCache {
 public:
  /// How much is kept. What was used longest ago goes first.
  struct Limits {
    std::size_t entries = 8;
    std::uint64_t bytes = std::uint64_t{1} << 30;
  };

  /// No cache: finds nothing, keeps nothing.
  UnpackCache() = default;
  /// Makes the directory (mode 0700) and its parents if they are missing. Empty path: no cache.
  explicit UnpackCache(const std::filesystem::path& directory) : UnpackCache(directory, Limits{}) {}
  UnpackCache(const std::filesystem::path& directory, Limits limits);
  UnpackCache(UnpackCache&& other) noexcept;
  UnpackCache(const UnpackCache&) = delete;
  UnpackCache& operator=(const UnpackCache&) = delete;
  UnpackCache& operator=(UnpackCache&&) = delete;
  ~UnpackCache();

  /// The calling user's, as the environment says.
  [[nodiscard]] static UnpackCache of_user();

  [[nodiscard]] bool usable() const { return directory_ >= 0; }
  /// What `packed` unpacks to, mapped read-only, if it is there and right.
  [[nodiscard]] std::optional<Buffer> find(std::span<const std::byte> packed) const;
  /// Keeps a result of unpacking; makes room for it.
  void keep(std::span<const std::byte> packed, std::span<const std::byte> unpacked) const;

 private:
  [[nodiscard]] std::optional<Buffer> map_entry(const std::string& name,
                                                std::span<const std::byte> packed) const;
  void make_room(const std::string& newest) const;

  int directory_ = -1;
  Limits limits_;
};

}  // namespace pinfold::loader
