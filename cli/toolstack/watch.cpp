#include "cli/toolstack/watch.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>

#include "cli/config/xl_child.hpp"
#include "cli/exit_codes.hpp"
#include "cli/json_number.hpp"
#include "sandbox/helper.hpp"

namespace pinfold::cli {
namespace {

using Clock = std::chrono::steady_clock;

volatile std::sig_atomic_t asked_to_end = 0;
void on_signal(int) { asked_to_end = 1; }

/// A terminal that hands over each key at once, until the end of this.
class Keys {
 public:
  Keys() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    is_terminal_ = true;
    termios now = before_;
    now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &now);
  }
  ~Keys() {
    if (is_terminal_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  /// Waits until then. True: the user wants to leave.
  [[nodiscard]] bool leaves_before(Clock::time_point end) const {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
      if (asked_to_end != 0) return true;
      if (left <= 0) return false;
      pollfd input{is_terminal_ ? STDIN_FILENO : -1, POLLIN, 0};
      if (::poll(&input, 1, static_cast<int>(left)) <= 0 || input.revents == 0) continue;
      char key = 0;
      if (::read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q') return true;
    }
  }

 private:
  termios before_{};
  bool is_terminal_ = false;
};

/// Fields that a monitor which was taken over leaves out, or fills with something else, count as 0.
double number(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

struct Traffic {
  double read = 0, written = 0, sent = 0, received = 0;
};

Traffic traffic_of(const Json& guest) {
  Traffic sum;
  const auto devices = guest.find("devices");
  if (devices == guest.end() || !devices->is_object()) return sum;
  for (const auto& [name, counts] : devices->items()) {
    if (!counts.is_object()) continue;
    sum.read += number(counts, "bytes_read");
    sum.written += number(counts, "bytes_written");
    sum.sent += number(counts, "tx_bytes");
    sum.received += number(counts, "rx_bytes");
  }
  return sum;
}

/// The same life of the same guest.
const Json* earlier(const Json& before, const Json& guest) {
  for (const Json& one : before)
    if (number(one, "id") == number(guest, "id") && number(one, "monitor") == number(guest, "monitor") &&
        one.contains("frames"))
      return &one;
  return nullptr;
}

/// Of one guest; shown as they are.
struct Rates {
  double processor = 0;  ///< Per cent.
  double exits = 0;      ///< A second.
  Traffic kib;           ///< A second.
};

std::optional<Rates> rates_of(const Json& before, const Json& guest, double seconds) {
  const Json* const then = earlier(before, guest);
  if (then == nullptr || seconds <= 0 || !guest.contains("frames")) return std::nullopt;
  const auto rate = [seconds](double was, double is) {
    constexpr double most = 1e12;  // A monitor's answer may be anything.
    return std::clamp((is - was) / seconds, 0.0, most);
  };
  constexpr double kib = 1024, per_cent = 100;
  const Traffic was = traffic_of(*then), is = traffic_of(guest);
  Rates rates;
  rates.processor = per_cent * rate(number(*then, "cpu_seconds"), number(guest, "cpu_seconds"));
  rates.exits = rate(number(*then, "exits"), number(guest, "exits"));
  rates.kib = {rate(was.read, is.read) / kib, rate(was.written, is.written) / kib,
               rate(was.sent, is.sent) / kib, rate(was.received, is.received) / kib};
  return rates;
}

std::string row(const Json& guest, const std::optional<Rates>& rates) {
  constexpr double frames_in_mib = 256;
  const std::string begin = fmt::format("{:<24} {:>5} {:<9}", text_in(guest, "name"),
                                        static_cast<std::uint64_t>(std::clamp(number(guest, "id"), 0.0, 1e9)),
                                        text_in(guest, "state"));
  if (!rates) return begin + "\n";
  return fmt::format("{} {:>7.1f} {:>8.0f} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f}\n", begin,
                     rates->processor, number(guest, "frames") / frames_in_mib, rates->exits, rates->kib.read,
                     rates->kib.written, rates->kib.sent, rates->kib.received);
}

struct Sample {
  Clock::time_point at;
  std::vector<Asked> guests;
};

std::string table(const Sample& before, const Sample& now) {
  const auto statuses = [](const Sample& sample) {
    Json all = Json::array();
    for (const Asked& one : sample.guests) all.push_back(status_of(one));
    return all;
  };
  return watch_text(statuses(before), statuses(now),
                    std::chrono::duration<double>(now.at - before.at).count());
}

int complain(const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return exit_bad_image;
}

}  // namespace

std::string watch_text(const Json& before, const Json& now, double seconds) {
  std::string out =
      fmt::format("{:<24} {:>5} {:<9} {:>7} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "NAME", "ID", "STATE",
                  "CPU(%)", "MEM(MiB)", "EXITS/s", "RD(KiB/s)", "WR(KiB/s)", "TX(KiB/s)", "RX(KiB/s)");
  std::vector<std::pair<double, std::string>> rows;
  for (const Json& guest : now) {
    const auto rates = rates_of(before, guest, seconds);
    rows.emplace_back(rates ? rates->processor : -1, row(guest, rates));
  }
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [processor, text] : rows) out += text;
  return out;
}

int watch_guests(const std::function<tl::expected<std::vector<Asked>, std::string>()>& ask,
                 const WatchOptions& options) {
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
  const bool on_terminal = ::isatty(STDOUT_FILENO) != 0;
  const Keys keys;
  const auto sample = [&ask]() -> tl::expected<Sample, std::string> {
    auto guests = ask();
    if (!guests) return tl::unexpected(guests.error());
    return Sample{Clock::now(), std::move(*guests)};
  };
  auto before = sample();
  if (!before) return complain(before.error());
  const std::chrono::duration<double> interval(options.seconds);
  for (std::uint64_t shown = 0; options.count == 0 || shown < options.count; ++shown) {
    if (keys.leaves_before(before->at + std::chrono::duration_cast<Clock::duration>(interval))) break;
    auto now = sample();
    if (!now) return complain(now.error());
    const auto text = run_in_child([&] { return table(*before, *now); },
                                   [](int) {
                                     return sandbox::confine_helper(sandbox::Helper::reader).has_value() ||
                                            sandbox::confines_nothing();
                                   });
    if (!text) return complain("the guests' answers: " + text.error());
    fmt::print("{}{}", on_terminal ? "\x1b[H\x1b[J" : shown == 0 ? "" : "\n", *text);
    if (std::fflush(stdout) != 0) return exit_bad_image;
    before = std::move(now);
  }
  return exit_powered_off;
}

}  // namespace pinfold::cli
