// The files that a confined program opens: `cat` gets many, while signals interrupt the thread that answers.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "cli/tools/tool.hpp"

namespace pinfold::cli::tools::test {
namespace {

std::atomic<int> interruptions;

/// A signal for the thread that makes it, again and again. Its handler is one without SA_RESTART: so what it
/// interrupts returns EINTR. (The kernel's own work for a process, as of io_uring, interrupts likewise.)
class Interrupter {
 public:
  Interrupter() : target_(::pthread_self()) {
    struct sigaction action {};
    action.sa_handler = [](int) { ++interruptions; };
    ::sigaction(SIGUSR2, &action, &before_);
    thread_ = std::thread([this] {
      while (!ended_) {
        ::pthread_kill(target_, SIGUSR2);
        std::this_thread::sleep_for(std::chrono::microseconds(10));
      }
    });
  }
  Interrupter(const Interrupter&) = delete;
  Interrupter& operator=(const Interrupter&) = delete;
  ~Interrupter() {
    ended_ = true;
    thread_.join();
    ::sigaction(SIGUSR2, &before_, nullptr);
  }

 private:
  pthread_t target_;
  struct sigaction before_ {};
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

std::string content(std::size_t number) { return fmt::format("this is file {}\n", number); }

class Text final : public ServedFile {
 public:
  explicit Text(std::string text) : text_(std::move(text)) {}
  [[nodiscard]] std::uint64_t bytes() const override { return text_.size(); }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> to) override {
    std::memcpy(to.data(), text_.data() + offset, to.size());
    return 0;
  }

 private:
  std::string text_;
};

/// What `cat` prints of `count` files, each of which it opens by its number; or why it failed. Files of which
/// `is_served` holds are read for it.
template <typename IsServed>
std::string concatenated(std::size_t count, const IsServed& is_served) {
  std::vector<Text> texts;
  for (std::size_t n = 0; n < count; ++n) texts.emplace_back(content(n));
  ToolPlan plan;
  plan.name = "cat";
  for (std::size_t n = 0; n < count; ++n) plan.words.push_back(fmt::format("/{}", n));
  plan.opener = [&](const std::string& path, int) -> tl::expected<Opened, int> {
    std::size_t n = count;
    if (std::sscanf(path.c_str(), "/%zu", &n) != 1 || n >= count) return tl::unexpected(ENOENT);
    if (is_served(n)) return &texts[n];
    vmm::Fd file(::memfd_create("test", MFD_CLOEXEC));
    const std::string text = content(n);
    EXPECT_EQ(::pwrite(file.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    return file;
  };
  auto tool = ConfinedTool::start(std::move(plan));
  if (!tool) return tool.error().message;
  const Interrupter interrupter;
  const auto served = tool->serve(-1, ConfinedTool::Clock::now() + std::chrono::seconds(60));
  if (!served) return served.error();
  if (*served != ConfinedTool::Served::ended) return "it hangs";
  const auto status = tool->wait(1000);
  if (status != 0)
    return fmt::format("status {:#x}: {}", status.value_or(-1), text_of(tool->complaints(), 300));
  return text_of(tool->output(), 1 << 20);
}

std::string wanted(std::size_t count) {
  std::string all;
  for (std::size_t n = 0; n < count; ++n) all += content(n);
  return all;
}

TEST(OpenRequests, are_answered_rightly_while_signals_interrupt_the_answers) {
  interruptions = 0;
  EXPECT_EQ(concatenated(3000, [](std::size_t) { return false; }), wanted(3000));
  EXPECT_GT(interruptions, 100);
}

TEST(OpenRequests, of_served_files_are_answered_rightly_while_signals_interrupt_the_answers) {
  interruptions = 0;
  EXPECT_EQ(concatenated(3000, [](std::size_t n) { return n % 2 == 0; }), wanted(3000));
  EXPECT_GT(interruptions, 100);
}

}  // namespace
}  // namespace pinfold::cli::tools::test
