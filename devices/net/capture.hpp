// A copy of all frames of an interface, in a file for tcpdump(8) and wireshark(1).
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "devices/net/frame.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices::net {

/// Writes the pcap format (draft-ietf-opsawg-pcap). Large frames are written as the packets that they stand
/// for, and all with their checksums. If the file can't be written any more, the capture ends and the
/// interface goes on.
///
/// Concurrency: any thread.
class Capture {
 public:
  /// Writes the header to `file`, which is empty.
  explicit Capture(vmm::Fd file);
  void record(const Frame& frame);

 private:
  void write(std::span<const std::byte> frame);

  std::mutex mutex_;
  vmm::Fd file_;  ///< Closed: the capture has ended.
  std::vector<std::byte> frame_, scratch_, record_;
};

}  // namespace pinfold::devices::net
