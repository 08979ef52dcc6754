// Which of the host's processors a thread may use.
#pragma once

#include <array>
#include <optional>
#include <string>

namespace pinfold::vmm {

/// A set of the host's processors, by their numbers in /proc/cpuinfo.
class Processors {
 public:
  /// As many as Linux can have on x86-64 (NR_CPUS_RANGE_END in arch/x86/Kconfig).
  static constexpr unsigned most = 8192;

  /// Those that the calling thread may use. Empty if the host does not tell.
  [[nodiscard]] static Processors of_this_thread();
  /// Moves the calling thread to these. False: the host has none of them.
  [[nodiscard]] bool bind_this_thread() const;

  /// Numbers below `most`.
  void add(unsigned number) { words_[number / bits] |= 1UL << number % bits; }
  void remove(unsigned number) { words_[number / bits] &= ~(1UL << number % bits); }
  [[nodiscard]] bool has(unsigned number) const { return (words_[number / bits] >> number % bits & 1) != 0; }
  void add(const Processors& others);
  /// The first one that `others` has not; nullopt: `others` has all.
  [[nodiscard]] std::optional<unsigned> first_outside(const Processors& others) const;
  [[nodiscard]] bool empty() const { return !first_outside({}); }
  /// "0-3,5"
  [[nodiscard]] std::string text() const;

  bool operator==(const Processors&) const = default;

 private:
  static constexpr unsigned bits = 64;
  std::array<unsigned long, most / bits> words_{};  ///< As sched_setaffinity(2) takes them.
};

/// While it lives, the calling thread uses only these processors, and so do the threads that it starts.
class Binding {
 public:
  /// Throws std::system_error if the host has none of them.
  explicit Binding(const Processors& to);
  ~Binding();
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;

 private:
  Processors before_ = Processors::of_this_thread();
};

}  // namespace pinfold::vmm
