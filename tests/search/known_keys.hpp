// A set of keys: 16 bytes each, at most two thirds full.
#pragma once

#include <bit>
#include <cstddef>
#include <vector>

#include "key.hpp"

namespace pinfold::pvmmu::search {

/// Open addressing by the bits of the key. The key of two zeros can't be inserted; no state has it.
class KnownKeys {
 public:
  KnownKeys() : places_(least) {}
  /// False: it was already there.
  bool insert(const Key& key) {
    if (3 * (size_ + 1) > 2 * places_.size()) grow();
    if (!place(key)) return false;
    ++size_;
    return true;
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  void clear() {
    places_.assign(std::max(least, std::bit_ceil(2 * size_)), Key{});
    size_ = 0;
  }

 private:
  static constexpr std::size_t least = 1024;

  bool place(const Key& key) {
    std::size_t i = key.low & (places_.size() - 1);
    for (; places_[i] != Key{}; i = (i + 1) & (places_.size() - 1))
      if (places_[i] == key) return false;
    places_[i] = key;
    return true;
  }
  void grow() {
    std::vector<Key> old(2 * places_.size());
    old.swap(places_);
    for (const Key& key : old)
      if (key != Key{}) place(key);
  }

  std::vector<Key> places_;
  std::size_t size_ = 0;
};

}  // namespace pinfold::pvmmu::search
