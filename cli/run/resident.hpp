// A guest of a monitor's machine, through all its lives there.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "cli/control/published_guest.hpp"
#include "cli/control/store_server.hpp"
#include "cli/gdb/server.hpp"
#include "cli/run/guest.hpp"
#include "cli/run/host.hpp"
#include "cli/run/inputs.hpp"
#include "cli/run/output.hpp"
#include "cli/run/run.hpp"
#include "cli/run/stats_report.hpp"
#include "cli/supervisor/restart_rule.hpp"
#include "trace/log_sink.hpp"

namespace pinfold::cli {

/// Milliseconds since a life of a guest began.
class Stopwatch {
 public:
  [[nodiscard]] double elapsed_ms() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// What the guests of a machine have in common. It outlives them.
struct CommonParts {
  std::unique_ptr<Host> host;
  std::unique_ptr<OutputWriter> output;
  std::shared_ptr<trace::Log> trace;  ///< Of all guests; null: nobody watches.
  const vmm::Fd* supervisor = nullptr;
  std::size_t guests = 0;            ///< All that the machine was made with.
  std::atomic<std::size_t> here{0};  ///< Those that run, start again, or are preserved.
  GuestControl::Join join;           ///< For clients that add a guest.
  std::atomic<bool> leaving{false};  ///< The user ends them.
};

/// A life is: make(), publish(), start(), run(), conclude(). Then, if the guest starts again, the next one.
///
/// Concurrency: make(), publish() and start() make threads and what else a machine consists of, and are
/// called by the main thread. run() and conclude() are called by one thread, which may be another one. type()
/// and leave() may be called by any thread at any time.
class Resident {
 public:
  /// `number`: its place among those that the machine was made with; of one that joins, any. `options` and
  /// `common` outlive this.
  Resident(const RunOptions& options, OpenInputs open, Inputs inputs, LifeLinks links, std::size_t number,
           CommonParts& common);
  ~Resident();
  Resident(const Resident&) = delete;
  Resident& operator=(const Resident&) = delete;

  /// A guest that is ready to run, in place of one that has ended. `watch` has run since this life's
  /// beginning.
  [[nodiscard]] Result<void> make(const Stopwatch& watch, double image_loaded_ms = 0);
  /// From here on commands find it.
  void publish();
  /// Makes the threads of its vCPUs, which wait for run().
  void start();
  /// Until the guest's end, and until it has printed its last.
  void run();
  /// Says how the guest ended, keeps it if it is to be preserved, and takes it apart.
  [[nodiscard]] LifeEnd conclude();
  /// After conclude(): its next life is to be made in this machine.
  [[nodiscard]] bool starts_again() const { return again_; }
  /// It will not start again here: gives up what it has from outside of the process.
  void give_up();

  [[nodiscard]] const std::string& name() const { return options_.guest.name; }
  [[nodiscard]] const RunOptions& options() const { return options_; }
  /// Not after give_up().
  [[nodiscard]] bool is_here() const { return life_ != nullptr; }
  /// It joined a machine that was there: then its supervisor is another one.
  [[nodiscard]] bool has_joined() const { return links_.supervisor.open(); }
  /// The link to its supervisor.
  [[nodiscard]] const vmm::Fd& supervisor() const {
    return has_joined() ? links_.supervisor : *common_.supervisor;
  }
  /// Tells its supervisor a word of link.hpp.
  void say(std::uint8_t word) const;
  [[nodiscard]] vmm::Domain& domain() { return life_->guest->domain(); }
  /// What the user types; how many bytes the guest took. A guest that is gone takes all.
  [[nodiscard]] std::size_t type(std::span<const std::byte> bytes);
  /// Ends the guest, whatever it does now, and lets it start no more.
  void leave();

 private:
  /// Those who serve clients while the guest is there.
  struct Servers {
    std::optional<PublishedGuest> control;
    std::optional<StoreServer> store;
  };
  struct Life {
    explicit Life(const Stopwatch& since) : watch(since) {}
    Stopwatch watch;
    Milestones times;
    RestartRule rule;
    std::unique_ptr<trace::LogSink> trace;
    std::unique_ptr<Guest> guest;
    WakeUp destroyed;  ///< Signalled when a guest that has ended is to go.
    std::optional<Servers> servers;
    std::optional<gdb::Server> debugger;
    vmm::End end;
    bool left = false;  ///< The user ended it.
  };

  /// The machine was made with it alone.
  [[nodiscard]] bool began_alone() const { return common_.guests == 1 && !has_joined(); }
  [[nodiscard]] bool prints_to_stdout() const { return options_.console.place == ConsolePlace::stdio; }
  int complain(int code, const std::string& what) const;
  [[nodiscard]] GuestLinks links_of_life();
  void wait_for_debugger();
  void forget_images();
  void note_leaving();
  [[nodiscard]] bool will_stay() const;
  [[nodiscard]] bool is_to_start_again();
  void tell_what_restart_changes() const;
  [[nodiscard]] ExitCode report();
  void stay(GuestEnd end);
  [[nodiscard]] bool tear_down();
  void set_keyboard(devices::ConsoleDevice* keyboard, bool gone);

  const RunOptions& options_;
  OpenInputs open_;
  Inputs inputs_;
  LifeLinks links_;
  Wirings wirings_;
  const std::size_t number_;
  CommonParts& common_;
  std::unique_ptr<GuestConsole> console_;
  std::mutex mutex_;                            ///< Guards what follows, of what other threads use.
  devices::ConsoleDevice* keyboard_ = nullptr;  ///< Null: nobody takes what is typed now.
  bool gone_ = false;                           ///< Nobody will.
  std::unique_ptr<Life> life_;                  ///< Replaced by the main thread, under the mutex.
  bool again_ = false;
};

}  // namespace pinfold::cli
