#include "cli/metrics/ask_all.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "cli/control/connect_at_once.hpp"
#include "cli/control/protocol.hpp"

namespace pinfold::cli::metrics {
namespace {

using Clock = std::chrono::steady_clock;
using Answer = tl::expected<std::string, std::string>;

Answer no_answer(const char* why) { return tl::unexpected(std::string(why)); }

/// One guest that was asked.
struct Question {
  std::size_t guest = 0;
  vmm::Fd socket;
  Clock::time_point until;
  std::string received;
};

/// Takes what came; the answer, or why there is none; nullopt: more may come.
std::optional<Answer> receive(Question& question, std::size_t longest) {
  std::array<char, 65536> piece{};
  const ssize_t n = ::recv(question.socket.get(), piece.data(), piece.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (n < 0) return no_answer("the guest's monitor does not answer");
  if (n == 0) return no_answer("the guest ended before it answered");
  std::string& all = question.received;
  all.append(piece.data(), static_cast<std::size_t>(n));
  if (all.size() > longest) return no_answer("the answer is too long");
  if (all.back() != '\n') return std::nullopt;
  all.pop_back();
  return std::move(all);
}

/// Asks them all, a number of them at a time.
class Questions {
 public:
  Questions(std::string_view command, const AskLimits& limits, std::vector<Asked>& guests)
      : line_(encode_request(command, Json::object()) + "\n"),
        limits_(limits),
        guests_(guests),
        end_(Clock::now() + limits.in_all) {}

  void ask() {
    while (next_ < guests_.size() || !open_.empty()) {
      while (next_ < guests_.size() && open_.size() < limits_.at_once && Clock::now() < end_) begin(next_++);
      if (open_.empty()) return;
      wait();
    }
  }

 private:
  void begin(std::size_t guest) {
    auto socket = connect_at_once(guests_[guest].guest.directory, guests_[guest].guest.name);
    if (!socket) {
      guests_[guest].answer = tl::unexpected(socket.error());
    } else if (::send(socket->get(), line_.data(), line_.size(), MSG_NOSIGNAL) !=
               static_cast<ssize_t>(line_.size())) {
      guests_[guest].answer = no_answer("the guest's monitor does not listen");
    } else {
      open_.push_back({guest, std::move(*socket), std::min(Clock::now() + limits_.patience, end_), {}});
    }
  }

  /// Until something comes, or the first patience is used up.
  void wait() {
    std::vector<pollfd> fds;
    Clock::time_point first = end_;
    for (const Question& question : open_) {
      fds.push_back({question.socket.get(), POLLIN, 0});
      first = std::min(first, question.until);
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(first - Clock::now()).count();
    (void)::poll(fds.data(), fds.size(), static_cast<int>(std::max<std::int64_t>(left, 0)));
    std::vector<Question> still_open;
    for (std::size_t i = 0; i < open_.size(); ++i) {
      auto answer = fds[i].revents != 0 ? receive(open_[i], limits_.longest_answer) : std::nullopt;
      // A monitor that sends a little now and then gets no more time.
      if (!answer && Clock::now() >= open_[i].until)
        answer = no_answer("the guest's monitor does not answer");
      if (answer)
        guests_[open_[i].guest].answer = std::move(*answer);
      else
        still_open.push_back(std::move(open_[i]));
    }
    open_ = std::move(still_open);
  }

  std::string line_;
  const AskLimits& limits_;
  std::vector<Asked>& guests_;
  Clock::time_point end_;
  std::size_t next_ = 0;
  std::vector<Question> open_;
};

}  // namespace

std::vector<Asked> ask_all(std::vector<RunningGuest> guests, std::string_view command,
                           const AskLimits& limits) {
  std::vector<Asked> asked;
  for (RunningGuest& guest : guests)
    asked.push_back({std::move(guest), no_answer("there was no time left to ask it")});
  Questions(command, limits, asked).ask();
  return asked;
}

}  // namespace pinfold::cli::metrics
