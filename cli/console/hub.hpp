// What the guest printed, on its way to everybody who reads it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

namespace pinfold::cli {

/// Keeps the guest's latest output for any number of readers. A reader that falls behind by more than
/// `capacity` loses its place, and is told how much it missed: it never makes the guest wait. Only the
/// lossless output does, if there is one.
///
/// Any thread may call anything.
class ConsoleHub {
 public:
  /// How many bytes are kept.
  static constexpr std::size_t capacity = std::size_t{256} * 1024;
  /// How many of them a reader sees that joins with its history.
  static constexpr std::size_t history = std::size_t{16} * 1024;

  /// Takes as many bytes as it has room for, and returns how many (devices::ConsoleSink).
  using Lossless = std::function<std::size_t(std::span<const std::byte>)>;
  /// A reader: told that there is more to read. Called while the guest waits: it only wakes a thread.
  class Reader {
   public:
    virtual ~Reader() = default;
    virtual void output_ready() = 0;
  };
  /// How far a reader has read, in bytes since the guest's start.
  struct Place {
    std::uint64_t next = 0;
  };

  /// Without a lossless output everything that the guest prints is taken.
  explicit ConsoleHub(Lossless lossless = {});

  /// The guest printed this. Returns how many bytes were taken; the rest is to be offered again.
  [[nodiscard]] std::size_t offer(std::span<const std::byte> bytes);

  /// `reader` outlives this, or calls leave() before its end.
  void join(Reader& reader);
  void leave(Reader& reader);
  /// The place from which a new reader sees the history.
  [[nodiscard]] Place place_with_history();
  /// The place of the next byte.
  [[nodiscard]] Place place_at_end();

  struct Read {
    std::size_t bytes;   ///< Read now.
    std::uint64_t lost;  ///< Missed before them.
  };
  /// Reads from the place on, as much as there is and fits, and moves the place.
  [[nodiscard]] Read read(Place& place, std::span<std::byte> to);

 private:
  [[nodiscard]] std::uint64_t oldest() const { return end_ - kept_; }

  const Lossless lossless_;
  std::mutex mutex_;
  std::vector<std::byte> ring_;  ///< The byte at `place` is at place % capacity.
  std::uint64_t end_ = 0;        ///< The place of the next byte.
  std::size_t kept_ = 0;
  std::vector<Reader*> readers_;
};

}  // namespace pinfold::cli
