#include "cli/control/client.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "cli/control/guests.hpp"
#include "cli/control/runtime_dir.hpp"
#include "cli/control/socket.hpp"
#include "sandbox/helper.hpp"

namespace pinfold::cli {
namespace {

/// More than the tables of any guest that fits into a machine.
constexpr std::size_t longest_answer = 1UL << 30;

tl::expected<std::string, std::string> receive_line(const vmm::Fd& socket) {
  std::string line;
  std::array<char, 65536> chunk{};
  while (line.empty() || line.back() != '\n') {
    const ssize_t n = ::recv(socket.get(), chunk.data(), chunk.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    // Reset: it had not read the question yet.
    const bool ended = n == 0 || (n < 0 && errno == ECONNRESET);
    if (ended) return tl::unexpected(std::string("the guest ended before it answered"));
    if (n < 0) return tl::unexpected(std::string("the guest's monitor does not answer"));
    line.append(chunk.data(), static_cast<std::size_t>(n));
    if (line.size() > longest_answer) return tl::unexpected(std::string("the answer is too long"));
  }
  line.pop_back();
  return line;
}

}  // namespace

tl::expected<Json, std::string> ask_guest(std::string_view name_or_id, std::string_view command,
                                          const Json& arguments, time_t patience_s,
                                          std::span<const int> descriptors) {
  const auto guest = find_guest(name_or_id);
  if (!guest) return tl::unexpected(guest.error());
  return ask_guest_named(*guest, command, arguments, patience_s, descriptors);
}

tl::expected<Json, std::string> ask_guest_once(std::string_view name_or_id, std::string_view command,
                                               const Json& arguments) {
  const auto guest = find_guest(name_or_id);
  if (!guest) return tl::unexpected(guest.error());
  const auto answer = fetch_answer(*guest, command, arguments);
  if (!answer) return tl::unexpected(answer.error());
  sandbox::confine_reader();
  return decode_answer(*answer);
}

tl::expected<Json, std::string> ask_machine_once(std::string_view name_or_id, std::string_view command,
                                                 const Json& arguments) {
  const auto guest = find_guest(name_or_id);
  if (!guest) return tl::unexpected(guest.error());
  const auto answer = fetch_answer(*guest, command, arguments);
  if (!answer) return tl::unexpected(answer.error());
  std::vector<std::pair<std::string, std::string>> others;
  if (guest->note.shared)
    for (const RunningGuest& other : running_guests(guest->directory)) {
      if (other.name == guest->name || other.note.monitor != guest->note.monitor) continue;
      if (auto its = fetch_answer(other, command, arguments)) others.emplace_back(other.name, *its);
    }
  sandbox::confine_reader();
  auto whole = decode_answer(*answer);
  if (!whole) return whole;
  for (const auto& [name, bytes] : others)
    if (auto its = decode_answer(bytes))
      (*whole)["neighbours"].push_back({{"name", name}, {"answer", std::move(*its)}});
  return whole;
}

tl::expected<Json, std::string> ask_guest_named(const RunningGuest& guest, std::string_view command,
                                                const Json& arguments, time_t patience_s,
                                                std::span<const int> descriptors) {
  return fetch_answer(guest, command, arguments, patience_s, descriptors).and_then(decode_answer);
}

tl::expected<std::string, std::string> fetch_answer(std::string_view name, std::string_view command,
                                                    const Json& arguments, time_t patience_s,
                                                    std::span<const int> descriptors) {
  const auto directory = runtime_directory();
  if (!directory) return tl::unexpected(directory.error());
  return fetch_answer({std::string(name), {}, *directory}, command, arguments, patience_s, descriptors);
}

tl::expected<std::string, std::string> fetch_answer(const RunningGuest& guest, std::string_view command,
                                                    const Json& arguments, time_t patience_s,
                                                    std::span<const int> descriptors) {
  const auto socket = connect_to_guest(guest.directory, guest.name);
  if (!socket) return tl::unexpected(socket.error());
  const timeval patience{patience_s, 0};
  (void)::setsockopt(socket->get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (!send_with(*socket, encode_request(command, arguments) + "\n", descriptors))
    return tl::unexpected(std::string("the guest's monitor does not listen: ") + std::strerror(errno));
  return receive_line(*socket);
}

}  // namespace pinfold::cli
