// One reader of the console at the end of a descriptor: a client on a socket, or a pseudo-terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "cli/console/hub.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// What was lost, as a line that a reader sees in its place.
[[nodiscard]] std::string note_of_loss(std::uint64_t bytes);

/// Passes the guest's output to a descriptor, and what comes from there to the guest. It neither waits nor
/// holds more than a piece in each direction. One thread uses it.
class Attachment {
 public:
  /// Queues input for the guest; returns how many bytes were accepted.
  using Input = std::function<std::size_t(std::span<const std::byte>)>;
  /// How many bytes pass at once.
  static constexpr std::size_t piece = 4096;

  /// `fd` does not block. `hub` outlives this.
  Attachment(vmm::Fd fd, ConsoleHub& hub, ConsoleHub::Place start)
      : fd_(std::move(fd)), hub_(&hub), place_(start) {}

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// What to wait for, as for poll(2).
  [[nodiscard]] short wanted();
  /// Does input wait that the guest has not accepted?
  [[nodiscard]] bool input_waits() const { return !typed_.empty(); }
  /// Is everything sent that the guest has printed?
  [[nodiscard]] bool is_up_to_date();

  /// Sends a piece if the other end takes it; false: the other end is gone.
  [[nodiscard]] bool send();
  /// Receives a piece and passes it on; false: the other end is gone. The end of its input is not its end.
  [[nodiscard]] bool receive(const Input& input);
  /// Offers the guest the input that waits.
  void offer_input(const Input& input);

 private:
  void fetch();

  vmm::Fd fd_;
  ConsoleHub* hub_;
  ConsoleHub::Place place_;
  std::string sending_;  ///< Of the guest's output: read from the hub, not sent yet.
  std::string typed_;    ///< For the guest: received, not accepted yet.
  bool input_ended_ = false;
};

}  // namespace pinfold::cli
