#include "trace/log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cerrno>
#include <cstring>

#include "pvmmu/service_thread.hpp"

namespace pinfold::trace {
namespace {

constexpr std::size_t block_payload = 56U << 10;  ///< A block is finished when it has so many bytes.
constexpr std::uint64_t cycles_per_tick = 16;  ///< So that what an operation takes fits into a byte mostly.

std::uint64_t nanoseconds(std::chrono::nanoseconds t) { return static_cast<std::uint64_t>(t.count()); }

/// Ticks per second, by the system's clock.
std::uint64_t measured_frequency() {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds sample(4);
  const auto begin = Clock::now();
  const std::uint64_t first = Log::ticks_now();
  std::this_thread::sleep_for(sample);
  const std::uint64_t ticks = Log::ticks_now() - first;
  return ticks * 1'000'000'000 / nanoseconds(Clock::now() - begin);
}

class FileOutput final : public LogOutput {
 public:
  FileOutput(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  ~FileOutput() override { ::close(fd_); }
  FileOutput(const FileOutput&) = delete;
  FileOutput& operator=(const FileOutput&) = delete;

  bool begin(const LogHeader& header) override {
    // Not when it is opened: then an older log stays if the guest can't be made. (No matter for what is no
    // file.)
    [[maybe_unused]] const int emptied = ::ftruncate(fd_, 0);
    return write(encode(header));
  }
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
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return tl::unexpected(fmt::format("{}: {}", file.string(), std::strerror(errno)));
  return std::make_unique<FileOutput>(fd, file.string());
}

std::uint64_t Log::ticks_now() { return __rdtsc() / cycles_per_tick; }

Log::Log(std::unique_ptr<LogOutput> output, Options options)
    : output_(std::move(output)), options_(std::move(options)), epoch_(ticks_now()) {
  header_.ticks_per_second = measured_frequency();
  header_.started_ns = nanoseconds(std::chrono::system_clock::now().time_since_epoch());
}

Log::~Log() { (void)close(); }

void Log::begin_domain(const Turn& turn, LogHeader domain) {
  if (!closed_ && !thread_.joinable()) {
    domain.ticks_per_second = header_.ticks_per_second;
    domain.started_ns = header_.started_ns;
    header_ = domain;
    thread_ = service_thread(ThreadKind::log, [this] { work(); });
    return;
  }
  pvmmu::TraceEvent event;
  event.kind = pvmmu::TraceKind::domain_begins;
  const auto words = words_of(domain);
  event.contents = words;
  put(turn, domain.domain, event, ticks_now(), 0);
}

void Log::put(const Turn&, DomId domain, const pvmmu::TraceEvent& event, std::uint64_t time,
              std::uint64_t cost) {
  if (closed_.load(std::memory_order_relaxed)) [[unlikely]]
    ++lost_after_close_;
  else
    ring_.put(domain, event, time, cost);
}

// -- the log's thread

void Log::work() {
  if (!output_->begin(header_)) fail(0);
  account_.bytes = failed_ ? 0 : log_header_bytes;
  using Clock = std::chrono::steady_clock;
  for (auto due = Clock::now() + options_.flush_after;;) {
    ring_.wait(
        std::chrono::ceil<std::chrono::milliseconds>(std::max(due - Clock::now(), Clock::duration(1))));
    // Whether it was closed, before what was there: nothing comes after that.
    const bool last = ring_.closed();
    ring_.take_all([this](const ToldEvent& told) { append(told); });
    // An operation is in one block with what happened within it: a block's end is a place to stop at.
    if (last || (Clock::now() >= due && !more_belongs_to_it_)) {
      finish_block();
      due = Clock::now() + options_.flush_after;
    }
    if (last) return;
  }
}

void Log::append(const ToldEvent& told) {
  // Processors' counters may differ a little.
  last_time_ = std::max(last_time_, told.time - std::min(told.time, epoch_));
  const bool enters = told.event.kind == pvmmu::TraceKind::entered;
  if (block_.events == 0) begin_block(last_time_);
  Source& source = sources_[told.event.domain.raw()];
  if (std::exchange(source.block, blocks_) != blocks_ && source.at_vcpu && !enters)
    encode_next(source.at_vcpu->event, 0);
  encode_next(told.event, told.cost);
  if (enters) {
    source.at_vcpu = told;
    source.at_vcpu->event.marks.continued = true;
  }
  more_belongs_to_it_ = enters || pvmmu::is_within_operation(told.event.kind);
  if (payload_.size() >= block_payload && !more_belongs_to_it_) finish_block();
}

void Log::begin_block(std::uint64_t time) {
  block_.first = events_;
  block_.time = time;
  ++blocks_;
  coder_.begin_block(time, header_.domain);
}

void Log::encode_next(const pvmmu::TraceEvent& event, std::uint64_t cost) {
  coder_.append(payload_, event, last_time_, cost);
  ++block_.events;
  ++events_;
}

void Log::finish_block() {
  if (block_.events == 0) return;
  const BlockHeader block = std::exchange(block_, BlockHeader{});
  const auto payload = std::exchange(payload_, {});
  if (failed_) {
    account_.lost += block.events;
    return;
  }
  const auto bytes = encode_block(block, payload);
  if (!output_->block(bytes)) return fail(block.events);
  account_.events += block.events;
  account_.bytes += bytes.size();
}

void Log::fail(std::uint64_t events) {
  failed_ = true;
  account_.lost += events;
  account_.failure = output_->failure();
  if (options_.on_failure) options_.on_failure(account_.failure);
}

Log::Account Log::close() {
  {
    const std::lock_guard turn(turn_);
    closed_.store(true, std::memory_order_relaxed);
  }
  ring_.close();
  if (thread_.joinable()) thread_.join();
  Account account = account_;
  const std::lock_guard turn(turn_);
  account.lost += lost_after_close_;
  return account;
}

}  // namespace pinfold::trace
