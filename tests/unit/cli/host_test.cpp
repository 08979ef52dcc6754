// Several guests on one host: one machine, one store, one switch.
#include "cli/run/host.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "loader/kernel_image.hpp"

namespace pinfold::cli::test {
namespace {

GuestConfig small_guest() {
  GuestConfig config;
  config.memory_bytes = 4ULL << 20;
  return completed(config).value();
}

TEST(Host, a_device_that_is_not_there_is_told_in_one_line) {
  HostOptions options;
  options.kvm_device = "/nonexistent/kvm";
  const auto host = ProbedKvm::open(options);
  ASSERT_FALSE(host);
  EXPECT_NE(host.error().find("/nonexistent/kvm"), std::string::npos) << host.error();
}

TEST(Host, its_machine_grows_with_each_guest) {
  auto host = ProbedKvm::open({}).and_then(Host::create);
  if (!host) GTEST_SKIP() << host.error();
  auto one = (*host)->make_guest(small_guest(), {});
  ASSERT_TRUE(one) << one.error();
  auto two = (*host)->make_guest(small_guest(), {});
  ASSERT_TRUE(two) << two.error();
  EXPECT_NE((*one)->domain().id(), (*two)->domain().id());
  const auto& frames = (*one)->domain().frames();
  for (const Mfn mfn : (*two)->domain().frames())
    ASSERT_EQ(std::ranges::count(frames, mfn), 0) << "a frame that both have";
  EXPECT_EQ((*one)->tear_down(true).frames, 0u);
  const auto left = (*two)->tear_down(true);
  EXPECT_EQ(left.frames, 0u);
  EXPECT_TRUE(left.findings.empty());
}

TEST(Host, uses_frames_of_a_guest_that_ended_before_its_machine_grows) {
  auto host = ProbedKvm::open({}).and_then(Host::create);
  if (!host) GTEST_SKIP() << host.error();
  auto first = (*host)->make_guest(small_guest(), {});
  ASSERT_TRUE(first) << first.error();
  const std::uint64_t frames = (*host)->machine().frames().size();
  const std::uint64_t free = (*host)->machine().frames().free_frames();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ((*first)->tear_down(true).frames, 0u);
    first->reset();
    first = (*host)->make_guest(small_guest(), {});
    ASSERT_TRUE(first) << first.error();
    EXPECT_EQ((*host)->machine().frames().size(), frames);
    EXPECT_EQ((*host)->machine().frames().free_frames(), free);
  }
}

TEST(Host, a_guest_that_does_not_fit_leaves_the_others_and_the_machine_as_they_were) {
  auto host = ProbedKvm::open({}).and_then(Host::create);
  if (!host) GTEST_SKIP() << host.error();
  auto one = (*host)->make_guest(small_guest(), {});
  ASSERT_TRUE(one) << one.error();
  const std::uint64_t frames = (*host)->machine().frames().size();
  const std::uint64_t free = (*host)->machine().frames().free_frames();
  GuestConfig large = small_guest();
  large.name = "large";
  large.memory_bytes = 300ULL << 30;
  const auto refused = (*host)->make_guest(large, {});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find("no memory for guest 'large'"), std::string::npos) << refused.error();
  EXPECT_NE(refused.error().find("can grow to 262144 MiB"), std::string::npos) << refused.error();
  EXPECT_EQ((*host)->machine().frames().size(), frames);
  EXPECT_EQ((*host)->machine().frames().free_frames(), free);
  EXPECT_TRUE((*host)->make_guest(small_guest(), {}));
}

/// What a guest prints, for a thread that waits for it.
class Output {
 public:
  [[nodiscard]] devices::ConsoleSink sink() {
    return [this](std::span<const std::byte> bytes) {
      const std::lock_guard lock(mutex_);
      for (const std::byte byte : bytes) text_ += static_cast<char>(byte);
      changed_.notify_all();
      return bytes.size();
    };
  }
  [[nodiscard]] bool wait_for(std::string_view text) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(120),
                             [&] { return text_.find(text) != std::string::npos; });
  }
  [[nodiscard]] std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
};

std::unique_ptr<Guest> built(Host& host, GuestConfig config, const char* kernel, Output& output) {
  config.early_console = true;
  GuestLinks links;
  links.console_output = output.sink();
  auto guest = host.make_guest(config, std::move(links));
  if (!guest) ADD_FAILURE() << guest.error();
  if (!guest) return nullptr;
  auto image = loader::KernelFile::open(std::string(PINFOLD_GUESTS "/") + kernel).and_then([](auto file) {
    return loader::parse_kernel(std::move(file));
  });
  if (!image) ADD_FAILURE() << image.error().message;
  if (!image) return nullptr;
  if (auto done = (*guest)->build(*image, {}); !done) ADD_FAILURE() << done.error();
  return std::move(*guest);
}

TEST(Host, a_second_guest_comes_while_the_first_one_runs) {
  auto host = ProbedKvm::open({}).and_then(Host::create);
  if (!host) GTEST_SKIP() << host.error();
  GuestConfig of_one = small_guest();
  of_one.memory_bytes = 32ULL << 20;
  of_one.command_line = "grows";
  Output output_of_one, output_of_two;
  const auto one = built(**host, of_one, "guest_boots_machine_grows", output_of_one);
  ASSERT_TRUE(one);
  vmm::End end_of_one;
  std::thread running([&] { end_of_one = one->domain().run(); });
  EXPECT_TRUE(output_of_one.wait_for("waiting")) << output_of_one.text();

  // More memory than one large page of the machine-to-phys table describes.
  GuestConfig of_two = small_guest();
  of_two.memory_bytes = 1500ULL << 20;
  const auto two = built(**host, of_two, "guest_boots_machine_grows", output_of_two);
  if (two) {
    const vmm::End end = two->domain().run();
    EXPECT_EQ(end.ending, vmm::Ending::power_off) << end.why << "\n" << output_of_two.text();
  }
  running.join();
  EXPECT_EQ(end_of_one.ending, vmm::Ending::power_off) << end_of_one.why << "\n" << output_of_one.text();
  for (Guest* guest : {two.get(), one.get()}) {
    if (guest == nullptr) continue;
    const auto left = guest->tear_down(true);
    EXPECT_EQ(left.frames, 0u);
    EXPECT_EQ(left.findings, std::vector<std::string>());
  }
}

}  // namespace
}  // namespace pinfold::cli::test
