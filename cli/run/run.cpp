#include "cli/run/run.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "cli/exit_codes.hpp"
#include "cli/gdb/server.hpp"
#include "cli/run/boot_source.hpp"
#include "cli/run/confine_monitor.hpp"
#include "cli/run/resident.hpp"
#include "cli/run/terminal.hpp"
#include "cli/supervisor/link.hpp"
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
  }

  /// Makes all guests, of their inputs.
  [[nodiscard]] Result<void> make(ProbedKvm kvm, std::vector<Prepared> prepared, const Stopwatch& watch);
  /// Until the last guest's end.
  [[nodiscard]] LifeEnd run();

 private:
  /// A guest's life that has ended, at one of the threads below.
  struct Ended {
    std::size_t guest;
    LifeEnd how;
  };

  void leave();
  [[nodiscard]] std::size_t type(std::span<const std::byte> bytes) { return residents_[0]->type(bytes); }
  /// One thread a guest: what it does at its end may take its time.
  void run_in_thread(std::size_t guest);
  [[nodiscard]] Ended next_end();
  [[nodiscard]] LifeEnd run_several();
  /// nullopt: the guest started again.
  [[nodiscard]] std::optional<LifeEnd> after(Ended ended);

  const MachineOptions& options_;
  MachineLinks links_;
  CommonParts common_;
  std::vector<std::unique_ptr<Resident>> residents_;
  std::vector<std::thread> threads_;  ///< By guest.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Ended> ended_;  ///< Guarded by the mutex.
};

Result<void> MachineRun::make(ProbedKvm kvm, std::vector<Prepared> prepared, const Stopwatch& watch) {
  const double image_loaded_ms = watch.elapsed_ms();
  auto host = Host::create(std::move(kvm));
  if (!host) return failure(exit_no_usable_kvm, host.error());
  common_.host = std::move(*host);
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
  for (const auto& resident : residents_) resident->leave();
  common_.output->hurry();
}

LifeEnd MachineRun::run() {
  std::optional<LifeEnd> how;
  {
    std::optional<gdb::Server> debugger;
    if (links_.debugger.open()) {
      debugger.emplace(links_.debugger, residents_[0]->domain());
      const std::string& place = options_[0].watch.gdb;
      fmt::print(stderr, "pinfold: the guest waits for GDB: target remote {}\n",
                 place.substr(place.find(':') + 1));
    }
    const bool on_stdio = options_[0].console.place == ConsolePlace::stdio;
    TerminalInput input([&](auto bytes) { return on_stdio ? type(bytes) : bytes.size(); }, [&] { leave(); },
                        links_.supervisor);
    for (const auto& resident : residents_) resident->start();
    // From here on the supervisor asks for the end over the link.
    link::say(links_.supervisor, {0, link::runs});
    if (residents_.size() == 1) {
      become(ThreadKind::control);  // it only waits, and then looks at what is left
      residents_[0]->run();
    } else {
      how = run_several();
    }
    // While the input is still there: a signal ends the program when nobody reads the guests' last output.
    common_.output->finish();
  }
  return how ? *how : residents_[0]->conclude();
}

void MachineRun::run_in_thread(std::size_t guest) {
  threads_[guest] = service_thread(ThreadKind::control, [this, guest] {
    Resident& resident = *residents_[guest];
    resident.run();
    LifeEnd how = resident.conclude();
    if (!resident.starts_again()) --common_.here;
    const std::lock_guard lock(mutex_);
    ended_.push_back({guest, std::move(how)});
    changed_.notify_all();
  });
}

MachineRun::Ended MachineRun::next_end() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ended_.empty(); });
  Ended ended = std::move(ended_.front());
  ended_.pop_front();
  return ended;
}

/// This thread keeps the right to make threads and virtual machines, for guests that start again.
LifeEnd MachineRun::run_several() {
  threads_.resize(residents_.size());
  for (std::size_t n = 0; n < residents_.size(); ++n) run_in_thread(n);
  std::size_t left = residents_.size();
  for (;;) {
    Ended ended = next_end();
    const std::size_t guest = ended.guest;
    threads_[guest].join();
    const auto how = after(std::move(ended));
    if (!how) continue;
    residents_[guest]->give_up();
    if (--left == 0) return *how;
    link::say(links_.supervisor, {static_cast<std::uint8_t>(guest),
                                  link::ended_with(how->guest ? code_of(*how->guest) : how->code)});
  }
}

std::optional<LifeEnd> MachineRun::after(Ended ended) {
  Resident& resident = *residents_[ended.guest];
  if (!resident.starts_again()) return ended.how;
  if (!common_.leaving) {
    if (auto made = resident.make(Stopwatch()); made) {
      resident.publish();
      resident.start();
      run_in_thread(ended.guest);
      link::say(links_.supervisor, {static_cast<std::uint8_t>(ended.guest), link::started_again});
      return std::nullopt;
    } else {
      ended.how =
          no_life({made.error().code, resident.name() + " does not start again: " + made.error().message});
    }
  } else {
    ended.how = {std::nullopt, exit_powered_off, 0, {}};
  }
  --common_.here;
  return ended.how;
}

}  // namespace

LifeEnd live(const MachineOptions& given, MachineLinks links) {
  const Stopwatch watch;
  if (auto possible = can_confine_monitor(given.front()); !possible) return no_life(possible.error());
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
  if (auto made = machine.make(std::move(*kvm), std::move(prepared), watch); !made)
    return no_life(made.error());
  return machine.run();
}

}  // namespace pinfold::cli
