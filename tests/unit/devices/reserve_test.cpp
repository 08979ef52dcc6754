// Threads and rings that are made before the guest runs, and lent to the disks that it gets later.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "devices/block/passed_image.hpp"
#include "devices/block/transfer_reserve.hpp"
#include "devices/queue_thread_reserve.hpp"
#include "image_files.hpp"

namespace pinfold::devices {
namespace {

using namespace block;

struct StuckLink final : QueueLink {
  StuckLink(std::atomic<bool>& idle, std::atomic<bool>& over) : is_idle_(idle), over_(over) {}
  ~StuckLink() override { over_ = true; }
  Rest serve(bool) override { return std::chrono::milliseconds(1); }
  [[nodiscard]] bool is_idle() const override { return is_idle_; }
  [[nodiscard]] const char* fault() const override { return nullptr; }
  void add_descriptors(std::vector<pollfd>&) const override {}
  [[nodiscard]] bool see_off() override { return true; }
  std::atomic<bool>&is_idle_, &over_;
};

TEST(QueueThreads, are_lent_and_come_back) {
  const auto reserve = QueueThreadReserve::make(2, [] {}).value();
  {
    const auto first = reserve->take(), second = reserve->take();
    EXPECT_TRUE(first && second);
    EXPECT_EQ(reserve->take(), nullptr);
    EXPECT_EQ(reserve->free(), 0u);
    EXPECT_FALSE(queue_thread(reserve.get(), [] {}));
  }
  EXPECT_EQ(reserve->free(), 2u);
}

TEST(QueueThreads, come_back_only_when_nothing_is_on_its_way) {
  const auto reserve = QueueThreadReserve::make(1, [] {}).value();
  std::atomic<bool> idle = false, over = false;
  for (int life = 0; life < 3; ++life) {
    idle = over = false;
    auto thread = reserve->take();
    thread->start();
    thread->connect(std::make_unique<StuckLink>(idle, over));
    std::thread ends([&] { thread.reset(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(reserve->free(), 0u);
    idle = true;
    ends.join();
    EXPECT_TRUE(over);
    EXPECT_EQ(reserve->free(), 1u);
  }
}

struct Reserved : testing::TestWithParam<Engine> {
  void SetUp() override {
    auto made = TransferReserve::make(2, 4, GetParam());
    if (!made) GTEST_SKIP() << made.error();
    reserve = *made;
  }
  PassedImage passed(const std::filesystem::path& path, int flags = O_RDWR) const {
    PassedImage image;
    image.fd = vmm::Fd(::open(path.c_str(), flags | O_CLOEXEC));
    image.name = path.string();
    image.geometry.sectors = 16;
    image.geometry.read_only = (flags & O_ACCMODE) == O_RDONLY;
    return image;
  }
  std::string refusal(PassedImage image) {
    const auto taken = take_over_image(std::move(image), reserve);
    return taken ? "" : taken.error();
  }
  std::shared_ptr<TransferReserve> reserve;
  TemporaryFolder folder;
  const std::filesystem::path first = folder.image(8192, "first"), second = folder.image(8192, "second");
};

TEST_P(Reserved, queues_serve_one_image_after_the_other) {
  for (int life = 0; life < 3; ++life)
    for (const auto& file : {first, second}) {
      const auto image = take_over_image(passed(file), reserve).value();
      const auto queue = image->make_queue(4).value();
      Memory memory(4096);
      memory.fill(static_cast<unsigned>(life) + (file == first ? 0 : 100));
      EXPECT_EQ(run(*queue, Operation::write, 4096, memory.pieces(512)), 0);
      std::ifstream in(file, std::ios::binary);
      const std::string all((std::istreambuf_iterator<char>(in)), {});
      EXPECT_EQ(all.substr(4096), memory.text());
      EXPECT_NE(run(*queue, Operation::write, 8192, memory.pieces(512)), 0) << "past the end";
    }
}

TEST_P(Reserved, there_are_no_more_queues_than_were_made) {
  auto image = take_over_image(passed(first), reserve).value();
  {
    const auto one = image->make_queue(4), two = image->make_queue(1);
    EXPECT_TRUE(one && two);
    EXPECT_FALSE(image->make_queue(1));
  }
  EXPECT_TRUE(image->make_queue(4));
  EXPECT_FALSE(image->make_queue(5)) << "deeper than it was made";
}

TEST_P(Reserved, descriptors_that_are_no_images_are_refused) {
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  PassedImage image = passed("/dev/null");
  EXPECT_NE(refusal(std::move(image)).find("a disk is an image file"), std::string::npos);
  image = passed(first);
  image.fd = vmm::Fd(pipe[0]);
  const vmm::Fd other(pipe[1]);
  EXPECT_NE(refusal(std::move(image)).find("a disk is an image file"), std::string::npos);
  image = passed(first);
  image.fd = vmm::Fd();
  EXPECT_NE(refusal(std::move(image)), "");
  EXPECT_NE(refusal(passed("/tmp", O_RDONLY | O_DIRECTORY)), "");
  EXPECT_NE(refusal(passed(first, O_RDWR | O_APPEND)).find("appends"), std::string::npos);
  EXPECT_NE(refusal(passed(first, O_PATH)), "");
  image = passed(first, O_RDONLY);
  image.geometry.read_only = false;
  EXPECT_NE(refusal(std::move(image)).find("not open for reading and writing"), std::string::npos);
  EXPECT_NE(refusal(passed(first, O_WRONLY)), "");
}

TEST_P(Reserved, a_geometry_that_cant_be_the_files_is_refused) {
  const auto with = [&](auto change) {
    PassedImage image = passed(first);
    change(image);
    return refusal(std::move(image));
  };
  EXPECT_EQ(with([](PassedImage&) {}), "");
  EXPECT_NE(with([](PassedImage& i) { i.geometry.sectors = 17; }).find("shorter"), std::string::npos);
  EXPECT_NE(with([](PassedImage& i) { i.geometry.sectors = 0; }), "");
  EXPECT_NE(with([](PassedImage& i) { i.geometry.sectors = ~std::uint64_t{0}; }), "");
  for (const std::uint32_t bad : {0U, 1U, 256U, 513U, 0x80000000U}) {
    EXPECT_NE(with([&](PassedImage& i) { i.geometry.logical_sector_bytes = bad; }), "") << bad;
    EXPECT_NE(with([&](PassedImage& i) { i.geometry.physical_sector_bytes = bad; }), "") << bad;
  }
  EXPECT_NE(with([](PassedImage& i) { i.geometry.logical_sector_bytes = 4096, i.geometry.sectors = 15; }),
            "");
  for (const std::uint32_t bad : {0U, 3U, 0x80000000U}) {
    EXPECT_NE(with([&](PassedImage& i) { i.alignment.address = bad; }), "") << bad;
    EXPECT_NE(with([&](PassedImage& i) { i.alignment.length = bad; }), "") << bad;
  }
}

TEST_P(Reserved, an_image_is_locked_and_its_lock_ends_with_it) {
  {
    const auto image = take_over_image(passed(first), reserve).value();
    EXPECT_NE(refusal(passed(first)).find("locked by another program"), std::string::npos);
  }
  EXPECT_EQ(refusal(passed(first)), "");
}

TEST_P(Reserved, a_tie_is_closed_with_the_image) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC | O_NONBLOCK), 0);
  const vmm::Fd reader(pipe[0]);
  PassedImage image = passed(first);
  image.tie = vmm::Fd(pipe[1]);
  char byte;
  {
    const auto taken = take_over_image(std::move(image), reserve).value();
    EXPECT_EQ(::read(reader.get(), &byte, 1), -1);
  }
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0);
}

INSTANTIATE_TEST_SUITE_P(Engines, Reserved, testing::Values(Engine::io_uring, Engine::threads),
                         [](const auto& engine) {
                           return engine.param == Engine::io_uring ? "io_uring" : "threads";
                         });

}  // namespace
}  // namespace pinfold::devices
