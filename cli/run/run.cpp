#include "cli/run/run.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <deque>
#include <future>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "cli/exit_codes.hpp"
#include "cli/join/arrival.hpp"
#include "cli/run/boot_source.hpp"
#include "cli/run/confine_monitor.hpp"
#include "cli/run/ending_signals.hpp"
#include "cli/run/link_watch.hpp"
#include "cli/run/resident.hpp"
#include "cli/run/terminal.hpp"
#include "cli/supervisor/link.hpp"
#include "cli/supervisor/neighbours.hpp"
#include "cli/trace_options.hpp"
#include "devices/block/restricted_ring.hpp"
#include "pvmmu/service_thread.hpp"

namespace pinfold::cli {
namespace {

LifeEnd no_life(const Failure& failure) {
  fmt::print(stderr, "pinfold: {}\n", failure.message);
  return {std::nullopt, failure.code, 0, {}};
}

/// What a guest's first life in this machine needs, opened and then read.
struct Prepared {
  BootSource source;
  OpenInputs open;
  std::optional<Inputs> inputs;
};

/// A machine with its guests, from the first instruction of any to the last one's end.
class MachineRun {
 public:
  MachineRun(const MachineOptions& options, MachineLinks links)
      : options_(options), links_(std::move(links)) {
    common_.supervisor = &links_.supervisor;
    common_.guests = common_.here = options.size();
    common_.join = [this](vmm::Fd socket) { return ask_to_join(std::move(socket)); };
  }

  /// Makes all guests, of their inputs.
  [[nodiscard]] Result<void> make(ProbedKvm kvm, std::vector<Prepared> prepared,
                                  std::unique_ptr<trace::LogOutput> trace_log, const Stopwatch& watch);
  /// Until the last guest's end.
  [[nodiscard]] LifeEnd run();

 private:
  using Joined = tl::expected<std::uint16_t, std::string>;
  /// What this thread is to do next: one of these.
  struct Event {
    std::optional<std::size_t> ran;  ///< A guest that began alone has ended, and printed its last.
    struct Ended {
      std::size_t guest;
      LifeEnd how;
    };
    std::optional<Ended> ended;  ///< A life is over.
    struct Join {
      vmm::Fd socket;
      std::promise<Joined> answer;
    };
    std::optional<Join> join;
  };

  [[nodiscard]] bool began_with_one() const { return options_.size() == 1; }
  void leave();
  /// One thread a guest: what it does at its end may take its time.
  void run_in_thread(std::size_t guest);
  void conclude(std::size_t guest, Resident& resident);
  void post(Event event);
  [[nodiscard]] Event next_event();
  [[nodiscard]] LifeEnd serve();
  void let_go_of_the_terminal();
  /// True: it started again.
  [[nodiscard]] bool starts_again(Event::Ended& ended);
  void tell_end(const Resident& resident, const LifeEnd& how, std::size_t left) const;
  [[nodiscard]] Joined ask_to_join(vmm::Fd socket);
  [[nodiscard]] Joined admit(vmm::Fd socket);

  const MachineOptions& options_;
  MachineLinks links_;
  CommonParts common_;
  std::list<RunOptions> joined_options_;
  std::vector<std::unique_ptr<Resident>> residents_;  ///< Added to by the main thread, under the mutex.
  std::vector<std::thread> threads_;                  ///< By guest.
  std::vector<std::unique_ptr<LinkWatch>> watches_;   ///< By guest; null: it has not joined, or is gone.
  std::optional<TerminalInput> input_;
  std::optional<LinkWatch> supervisor_watch_;  ///< In place of the input.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;  ///< Guarded by the mutex.
};

Result<void> MachineRun::make(ProbedKvm kvm, std::vector<Prepared> prepared,
                              std::unique_ptr<trace::LogOutput> trace_log, const Stopwatch& watch) {
  const double image_loaded_ms = watch.elapsed_ms();
  auto host = Host::create(std::move(kvm));
  if (!host) return failure(exit_no_usable_kvm, host.error());
  common_.host = std::move(*host);
  // All guests have the same options of this kind, and one log.
  auto trace =
      make_trace(options_.front().watch.trace, std::move(trace_log), prepared.front().inputs->symbols);
  if (!trace) return failure(exit_usage, trace.error());
  common_.trace = std::move(*trace);
  std::vector<std::string> names;
  for (const RunOptions& options : options_) names.push_back(options.console.named ? options.guest.name : "");
  common_.output = std::make_unique<OutputWriter>(STDOUT_FILENO, names);
  for (std::size_t n = 0; n < prepared.size(); ++n) {
    Prepared& of = prepared[n];
    residents_.push_back(std::make_unique<Resident>(options_[n], std::move(of.open), std::move(*of.inputs),
                                                    std::move(links_.guests[n]), n, common_));
    if (auto made = residents_[n]->make(watch, image_loaded_ms); !made) return made;
  }
  for (const auto& resident : residents_) resident->publish();
  return {};
}

void MachineRun::leave() {
  common_.leaving = true;
  const std::lock_guard lock(mutex_);
  for (const auto& resident : residents_) resident->leave();
  common_.output->hurry();
}

LifeEnd MachineRun::run() {
  const bool on_stdio = options_[0].console.place == ConsolePlace::stdio;
  input_.emplace(
      [&first = *residents_[0], on_stdio](auto bytes) { return on_stdio ? first.type(bytes) : bytes.size(); },
      [this] { leave(); }, links_.supervisor);
  for (const auto& resident : residents_) resident->start();
  // From here on the supervisor asks for the end over the link.
  link::say(links_.supervisor, {0, link::runs});
  if (began_with_one()) {
    devices::block::RestrictedRing::make_no_more();
    become(ThreadKind::machine);
  }
  const LifeEnd how = serve();
  if (common_.trace) close_trace(*common_.trace);
  // While the input is still there: a signal ends the program when nobody reads the guests' last output.
  common_.output->finish();
  supervisor_watch_.reset();
  input_.reset();
  return how;
}

void MachineRun::post(Event event) {
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  changed_.notify_all();
}

MachineRun::Event MachineRun::next_event() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !events_.empty(); });
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

void MachineRun::run_in_thread(std::size_t guest) {
  Resident& resident = *residents_[guest];
  threads_[guest] = service_thread(ThreadKind::control, [this, guest, &resident] {
    resident.run();
    if (began_with_one() && !resident.has_joined())
      post({guest, {}, {}});
    else
      conclude(guest, resident);
  });
}

/// On a thread of its own, which does not look at the list of guests: others may join meanwhile.
void MachineRun::conclude(std::size_t guest, Resident& resident) {
  LifeEnd how = resident.conclude();
  if (!resident.starts_again()) --common_.here;
  post({{}, Event::Ended{guest, std::move(how)}, {}});
}

/// The guest that the terminal belongs to has ended: what is said of its end comes after its output, and the
/// terminal is as before.
void MachineRun::let_go_of_the_terminal() {
  common_.output->finish();
  input_.reset();
  const sigset_t ends = ending_signals();
  if (common_.here > 1) ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);
}

/// This thread keeps the right to make threads and virtual machines, for guests that join or start again.
LifeEnd MachineRun::serve() {
  threads_.resize(residents_.size());
  watches_.resize(residents_.size());
  for (std::size_t n = 0; n < residents_.size(); ++n) run_in_thread(n);
  for (;;) {
    Event event = next_event();
    if (event.join) {
      event.join->answer.set_value(admit(std::move(event.join->socket)));
      continue;
    }
    const std::size_t guest = event.ran ? *event.ran : event.ended->guest;
    threads_[guest].join();
    if (event.ran) {
      let_go_of_the_terminal();
      threads_[guest] = service_thread(
          ThreadKind::control, [this, guest, &resident = *residents_[guest]] { conclude(guest, resident); });
      continue;
    }
    if (starts_again(*event.ended)) continue;
    watches_[guest].reset();
    residents_[guest]->give_up();
    const auto left = static_cast<std::size_t>(std::count_if(
        threads_.begin(), threads_.end(), [](const auto& thread) { return thread.joinable(); }));
    tell_end(*residents_[guest], event.ended->how, left);
    if (left == 0) return residents_[guest]->has_joined() ? LifeEnd{} : std::move(event.ended->how);
    if (!input_ && !supervisor_watch_) supervisor_watch_.emplace(links_.supervisor, [this] { leave(); });
  }
}

/// To the guest's supervisor. What became of the last one of its own guests, it learns by the exit status.
void MachineRun::tell_end(const Resident& resident, const LifeEnd& how, std::size_t left) const {
  if (left == 0 && !resident.has_joined()) return;
  const bool again =
      how.guest && !common_.leaving && action_for(resident.options().guest, *how.guest) == EndAction::restart;
  if (again && (resident.has_joined() || began_with_one()))
    resident.say(link::leaves_after(*how.guest));
  else
    resident.say(link::ended_with(how.guest ? code_of(*how.guest) : how.code));
}

bool MachineRun::starts_again(Event::Ended& ended) {
  Resident& resident = *residents_[ended.guest];
  if (!resident.starts_again()) return false;
  if (!common_.leaving) {
    if (auto made = resident.make(Stopwatch()); made) {
      resident.publish();
      resident.start();
      run_in_thread(ended.guest);
      resident.say(link::started_again);
      return true;
    } else {
      ended.how =
          no_life({made.error().code, resident.name() + " does not start again: " + made.error().message});
    }
  } else {
    ended.how = {std::nullopt, exit_powered_off, 0, {}};
  }
  --common_.here;
  return false;
}

MachineRun::Joined MachineRun::ask_to_join(vmm::Fd socket) {
  Event::Join join{std::move(socket), {}};
  auto answer = join.answer.get_future();
  post({{}, {}, std::move(join)});
  return answer.get();
}

/// A guest that can't be made leaves the others as they were.
MachineRun::Joined MachineRun::admit(vmm::Fd socket) {
  const auto failed = [](std::string why) { return tl::unexpected(std::move(why)); };
  auto arrival = join::receive_guest(std::move(socket));
  if (!arrival) return failed(arrival.error());
  std::vector<const GuestConfig*> guests;
  for (const auto& resident : residents_)
    if (resident->is_here()) guests.push_back(&resident->options().guest);
  guests.push_back(&arrival->options.guest);
  if (auto objection = objection_to_names(guests)) return failed(std::move(*objection));
  if (common_.leaving) return failed("the machine's guests are about to end");
  std::uint64_t descriptors = later_descriptors(arrival->options);
  for (const auto& resident : residents_)
    if (resident->has_joined() && resident->is_here()) descriptors += later_descriptors(resident->options());
  if (descriptors > descriptors_for_joining)
    return failed("the monitor has not enough descriptors for one more guest");
  auto inputs = read_inputs(arrival->open);
  if (!inputs) return failed(inputs.error().message);
  RunOptions& options = joined_options_.emplace_back(std::move(arrival->options));
  options.console.named = true;
  const std::size_t number = residents_.size();
  auto resident = std::make_unique<Resident>(options, std::move(arrival->open), std::move(*inputs),
                                             std::move(arrival->links), number, common_);
  if (auto made = resident->make(Stopwatch()); !made) return failed(made.error().message);
  {
    const std::lock_guard lock(mutex_);
    residents_.push_back(std::move(resident));
  }
  ++common_.here;
  Resident& joined = *residents_.back();
  const auto domain = joined.domain().id().raw();
  joined.publish();
  joined.start();
  threads_.emplace_back();
  watches_.push_back(std::make_unique<LinkWatch>(joined.supervisor(), [&joined] { joined.leave(); }));
  run_in_thread(number);
  link::say(links_.supervisor, {0, link::has_company});
  return domain;
}

}  // namespace

LifeEnd live(const MachineOptions& given, MachineLinks links) {
  const Stopwatch watch;
  if (auto possible = can_confine_monitor(given.front()); !possible) return no_life(possible.error());
  // Of a guest that starts again alone, they may be gone.
  if (auto objection = objection_to_backends(given)) return no_life({exit_bad_image, std::move(*objection)});
  std::vector<Prepared> prepared;
  std::optional<ProbedKvm> kvm;
  // Says which guest can't be made, if there are others.
  const auto failed = [](const RunOptions& guest, const Failure& failure) {
    return no_life({failure.code, (guest.console.named ? guest.guest.name + ": " : "") + failure.message});
  };
  for (std::size_t n = 0; n < given.size(); ++n) {
    auto images = open_images(given[n].guest, std::move(links.guests[n].disks));
    if (!images) return failed(given[n], {exit_bad_image, images.error()});
    auto source = BootSource::find(given[n], *images);
    if (!source) return failed(given[n], {exit_bad_image, source.error()});
    auto open = open_inputs(source->options(), std::move(*images), kvm);
    if (!open) return failed(given[n], {open.error().code, source->with_names(open.error().message)});
    source->forget_files();
    prepared.push_back({std::move(*source), std::move(*open), std::nullopt});
  }

  auto trace_log = open_trace_log(given.front().watch.trace);
  if (!trace_log) return no_life({exit_usage, trace_log.error()});

  if (auto confined = confine_monitor(given); !confined) return no_life(confined.error());

  for (std::size_t n = 0; n < given.size(); ++n) {
    Prepared& of = prepared[n];
    auto inputs = read_inputs(of.open);
    if (!inputs) return failed(given[n], {inputs.error().code, of.source.with_names(inputs.error().message)});
    of.inputs.emplace(std::move(*inputs));
  }
  MachineOptions options;
  for (const Prepared& of : prepared) options.push_back(of.source.options());
  MachineRun machine(options, std::move(links));
  if (auto made = machine.make(std::move(*kvm), std::move(prepared), std::move(*trace_log), watch); !made)
    return no_life(made.error());
  return machine.run();
}

}  // namespace pinfold::cli
