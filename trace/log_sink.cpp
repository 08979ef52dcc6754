#include "trace/log_sink.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cerrno>
#include <cstring>

#include "pvmmu/validator.hpp"

namespace pinfold::trace {
namespace {

constexpr std::size_t block_payload = 56U << 10;  ///< A block is finished when it has so many bytes.
constexpr std::size_t most_queued = 64;           ///< Blocks; then the guest waits.
constexpr std::uint64_t cycles_per_tick = 16;  ///< So that what an operation takes fits into a byte mostly.

std::uint64_t ticks_now() { return __rdtsc() / cycles_per_tick; }

std::uint64_t nanoseconds(std::chrono::nanoseconds t) { return static_cast<std::uint64_t>(t.count()); }

/// Ticks per second, by the system's clock.
std::uint64_t measured_frequency() {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds sample(4);
  const auto begin = Clock::now();
  const std::uint64_t first = ticks_now();
  std::this_thread::sleep_for(sample);
  const std::uint64_t ticks = ticks_now() - first;
  return ticks * 1'000'000'000 / nanoseconds(Clock::now() - begin);
}

class FileOutput final : public LogOutput {
 public:
  FileOutput(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  ~FileOutput() override { ::close(fd_); }
  FileOutput(const FileOutput&) = delete;
  FileOutput& operator=(const FileOutput&) = delete;

  bool begin(const LogHeader& header) override { return write(encode(header)); }
  bool block(std::span<const std::byte> bytes) override { return write(bytes); }
  [[nodiscard]] std::string failure() const override { return failure_; }

 private:
  bool write(std::span<const std::byte> bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got = ::write(fd_, bytes.data() + done, bytes.size() - done);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        failure_ = fmt::format("{}: {}", name_, std::strerror(errno));
        // What is there of the block goes: the file ends with a whole one. (No matter for what is no file.)
        [[maybe_unused]] const int cut = ::ftruncate(fd_, static_cast<off_t>(whole_));
        return false;
      }
      done += static_cast<std::size_t>(got);
    }
    whole_ += bytes.size();
    return true;
  }

  int fd_;
  std::string name_, failure_;
  std::uint64_t whole_ = 0;
};

}  // namespace

tl::expected<std::unique_ptr<LogOutput>, std::string> file_output(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return tl::unexpected(fmt::format("{}: {}", file.string(), std::strerror(errno)));
  return std::make_unique<FileOutput>(fd, file.string());
}

LogSink::LogSink(std::unique_ptr<LogOutput> output, Options options)
    : output_(std::move(output)), options_(std::move(options)), epoch_(ticks_now()) {
  header_.ticks_per_second = measured_frequency();
  header_.started_ns = nanoseconds(std::chrono::system_clock::now().time_since_epoch());
  header_.vcpus = options_.vcpus;
  coder_.begin_block(0);
}

LogSink::~LogSink() { (void)close(); }

void LogSink::started(const pvmmu::ValidatorParts& parts) {
  header_.domain = parts.domain;
  header_.machine_frames = parts.frames.size();
  header_.max_frames = parts.max_frames;
  header_.mirror_pages = parts.mirrors.pages().count();
  header_.mirrors_at = parts.mirrors.frame(pvmmu::no_mirror);
  header_.machphys_slot = parts.machphys_slot;
  header_.l4_xen_slots = parts.l4_xen_slots;
  const std::lock_guard lock(mutex_);
  thread_ = std::thread([this] { work(); });
}

void LogSink::operation_begins() {
  excluded_ = 0;
  begun_ = ticks_now();
}

void LogSink::vcpu_entered(VcpuId vcpu, GuestVaddr ip, std::uint64_t cause) {
  const std::lock_guard lock(mutex_);
  entered_.time = ticks_now();
  entered_.event.kind = pvmmu::TraceKind::entered;
  entered_.event.slot = static_cast<std::uint16_t>(vcpu.raw());
  entered_.event.argument = ip.raw();
  entered_.event.count = cause;
  entered_.event.marks = {};
  entered_.told = entered_.in_block = false;
}

void LogSink::event(const pvmmu::TraceEvent& event) {
  const std::uint64_t now = ticks_now();
  std::unique_lock lock(mutex_);
  if (failed_ || closing_) {
    ++account_.lost;
    return;
  }
  if (!entered_.in_block) {
    entered_.event.marks.continued = entered_.told;
    append(entered_.event, entered_.time, 0);
    entered_.told = entered_.in_block = true;
  }
  within_operation_ = pvmmu::is_within_operation(event.kind);
  if (pvmmu::is_operation(event.kind)) {
    append(event, begun_, now - begun_ - excluded_);
  } else if (within_operation_) {
    append(event, begun_, 0);
  } else {
    append(event, now, 0);
  }
  // An operation is in one block with what happened within it: a block's end is a place to stop at.
  if (block_.payload.size() >= block_payload && !within_operation_) finish_block(lock, true);
  if (within_operation_) excluded_ += ticks_now() - now;
}

void LogSink::append(const pvmmu::TraceEvent& event, std::uint64_t time, std::uint64_t cost) {
  // Processors' counters may differ a little.
  last_time_ = std::max(last_time_, time - std::min(time, epoch_));
  if (block_.header.events == 0) {
    block_.header.first = events_;
    block_.header.time = last_time_;
    coder_.begin_block(last_time_);
  }
  coder_.append(block_.payload, event, last_time_, cost);
  ++block_.header.events;
  ++events_;
}

/// Hands the block to the thread. `wait`: for room among those that it has to write still.
void LogSink::finish_block(std::unique_lock<std::mutex>& lock, bool wait) {
  if (block_.header.events == 0) return;
  while (wait && queue_.size() >= most_queued && !failed_) emptied_.wait(lock);
  if (block_.header.events == 0) return;  // the thread took it meanwhile
  queue_.push_back(std::exchange(block_, Block{}));
  entered_.in_block = entered_.event.kind != pvmmu::TraceKind::entered;
  filled_.notify_one();
}

void LogSink::work() {
  std::unique_lock lock(mutex_);
  const auto put = [&](bool done) {
    if (done || failed_) return;
    failed_ = true;
    account_.failure = output_->failure();
    lock.unlock();
    if (options_.on_failure) options_.on_failure(account_.failure);
    lock.lock();
  };
  const LogHeader header = header_;
  lock.unlock();
  const bool begun = output_->begin(header);
  lock.lock();
  put(begun);
  account_.bytes = failed_ ? 0 : log_header_bytes;
  while (true) {
    if (queue_.empty() && !closing_) filled_.wait_for(lock, options_.flush_after);
    if (queue_.empty() && (closing_ || !within_operation_)) finish_block(lock, false);
    if (queue_.empty()) {
      if (closing_) return;
      continue;
    }
    const Block block = std::move(queue_.front());
    queue_.pop_front();
    emptied_.notify_all();
    if (failed_) {
      account_.lost += block.header.events;
      continue;
    }
    lock.unlock();
    const auto bytes = encode_block(block.header, block.payload);
    const bool written = output_->block(bytes);
    lock.lock();
    put(written);
    if (written) {
      account_.events += block.header.events;
      account_.bytes += bytes.size();
    } else {
      account_.lost += block.header.events;
    }
  }
}

LogSink::Account LogSink::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    filled_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  return account_;
}

}  // namespace pinfold::trace
