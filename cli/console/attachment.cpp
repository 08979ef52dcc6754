#include "cli/console/attachment.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace pinfold::cli {

std::string note_of_loss(std::uint64_t bytes) {
  return fmt::format("\r\n[pinfold: {} bytes of output are missing here]\r\n", bytes);
}

void Attachment::fetch() {
  if (!sending_.empty()) return;
  std::array<std::byte, piece> bytes;
  const auto read = hub_->read(place_, bytes);
  if (read.lost != 0) sending_ = note_of_loss(read.lost);
  for (const std::byte b : std::span(bytes).first(read.bytes)) sending_.push_back(static_cast<char>(b));
}

short Attachment::wanted() {
  fetch();
  const short input = typed_.empty() && !input_ended_ ? POLLIN : 0;
  return static_cast<short>(input | (sending_.empty() ? 0 : POLLOUT));
}

bool Attachment::is_up_to_date() {
  fetch();
  return sending_.empty();
}

bool Attachment::send() {
  fetch();
  if (sending_.empty()) return true;
  const ssize_t n = ::write(fd_.get(), sending_.data(), sending_.size());
  if (n > 0) sending_.erase(0, static_cast<std::size_t>(n));
  return n >= 0 || errno == EAGAIN || errno == EINTR;
}

bool Attachment::receive(const Input& input) {
  std::array<char, piece> bytes;
  const ssize_t n = ::read(fd_.get(), bytes.data(), bytes.size());
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  input_ended_ = n == 0;
  typed_.append(bytes.data(), static_cast<std::size_t>(n));
  offer_input(input);
  return true;
}

void Attachment::offer_input(const Input& input) {
  if (!typed_.empty()) typed_.erase(0, input(std::as_bytes(std::span(typed_))));
}

}  // namespace pinfold::cli
