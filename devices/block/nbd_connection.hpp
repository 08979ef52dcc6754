// A connection to an NBD server (the protocol: doc/proto.md of the NetworkBlockDevice project).
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "devices/block/nbd_library.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices::block {

/// What a server says of what it serves. Nothing of it has been checked.
struct NbdExport {
  std::uint64_t bytes = 0;
  bool read_only = false, can_flush = false, can_trim = false;
  bool multi_conn = false;                        ///< A flush on one connection covers the writes of all.
  std::uint64_t least_block = 0, most_block = 0;  ///< 0: it does not say.
};

/// A handle of libnbd that is connected, and its socket. When the connection ends, whatever was on its way
/// has failed.
///
/// Concurrency: used by one thread at a time.
class NbdConnection {
 public:
  using Clock = std::chrono::steady_clock;

  /// Negotiates, for as long as `patience`, or until `given_up` is true (null: never). An error is a reason,
  /// in one line.
  [[nodiscard]] static tl::expected<NbdConnection, std::string> make(
      vmm::Fd socket, const std::string& export_name, std::chrono::milliseconds patience,
      const std::atomic<bool>* given_up = nullptr);
  [[nodiscard]] NbdExport what_is_served() const;

  [[nodiscard]] const NbdLibrary& library() const { return *library_; }
  [[nodiscard]] nbd_handle* handle() const { return handle_.get(); }
  /// -1: it has ended.
  [[nodiscard]] int descriptor() const { return handle_ ? descriptor_ : -1; }
  /// What poll(2) is to wait for.
  [[nodiscard]] short wanted_events() const;
  /// Does what can be done now, without waiting. False: the connection has ended.
  [[nodiscard]] bool work();
  /// Why it ended.
  [[nodiscard]] const std::string& why() const { return why_; }
  /// Says goodbye, as far as that is possible without waiting. Only when nothing is on its way.
  void say_goodbye();
  void end(std::string why);

 private:
  struct Close {
    const NbdLibrary* library;
    void operator()(nbd_handle* handle) const { library->close(handle); }
  };
  NbdConnection(const NbdLibrary& library, nbd_handle* handle)
      : library_(&library), handle_(handle, Close{&library}) {}
  [[nodiscard]] tl::expected<void, std::string> negotiate(Clock::time_point deadline,
                                                          const std::atomic<bool>* given_up);

  const NbdLibrary* library_;
  std::unique_ptr<nbd_handle, Close> handle_;  ///< Null: it has ended.
  int descriptor_ = -1;                        ///< The handle's.
  std::string why_;
};

}  // namespace pinfold::devices::block
