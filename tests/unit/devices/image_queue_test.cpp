// What both ways of transfer promise, on files.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <random>
#include <thread>

#include "devices/block/image_file.hpp"
#include "devices/block/io_threads.hpp"
#include "devices/block/thread_queue.hpp"
#include "image_files.hpp"

namespace pinfold::devices::block {
namespace {

class TransferQueueTest : public testing::TestWithParam<Engine> {
 protected:
  static constexpr std::uint64_t image_bytes = 1 << 20;

  void SetUp() override { open(folder.image(image_bytes), {}); }

  void open(const std::filesystem::path& path, RawImageOptions options, std::size_t depth = 32) {
    queue.reset();
    image.reset();
    options.engine = GetParam();
    auto opened = open_raw_image(path, options);
    if (!opened && GetParam() == Engine::io_uring && opened.error().find("no io_uring") != std::string::npos)
      GTEST_SKIP() << opened.error();
    ASSERT_TRUE(opened) << opened.error();
    image = std::move(opened->image);
    auto made = image->make_queue(depth);
    ASSERT_TRUE(made) << made.error();
    queue = std::move(*made);
  }
  [[nodiscard]] std::filesystem::path path() const { return folder.path() / "disk.img"; }

  TemporaryFolder folder;
  std::unique_ptr<Image> image;
  std::unique_ptr<TransferQueue> queue;
};

TEST_P(TransferQueueTest, what_was_written_is_read) {
  Memory out(65536), in(65536);
  out.fill(1);
  EXPECT_EQ(run(*queue, Operation::write, 8192, out.pieces(4096)), 0);
  EXPECT_EQ(run(*queue, Operation::read, 8192, in.pieces(512)), 0);
  EXPECT_EQ(in.text(), out.text());
}

TEST_P(TransferQueueTest, a_transfer_of_more_pieces_than_one_call_takes_is_done_whole) {
  Memory out(image_bytes), in(image_bytes);
  out.fill(2);
  EXPECT_EQ(run(*queue, Operation::write, 0, out.pieces(512)), 0);  // 2,048 pieces
  EXPECT_EQ(run(*queue, Operation::read, 0, in.pieces(512)), 0);
  EXPECT_EQ(in.text(), out.text());
}

TEST_P(TransferQueueTest, a_full_queue_refuses_and_takes_again_after_a_completion) {
  Memory memory(4096);
  const auto pieces = memory.pieces(4096);
  for (std::uint64_t i = 0; i < 32; ++i)
    ASSERT_TRUE(queue->submit(transfer(Operation::read, i * 4096, pieces, i)));
  EXPECT_FALSE(queue->submit(transfer(Operation::read, 0, pieces, 99)));
  EXPECT_EQ(queue->on_the_way(), 32U);
  EXPECT_EQ(wait_for_all(*queue).size(), 32U);
  EXPECT_TRUE(queue->submit(transfer(Operation::read, 0, pieces, 99)));
  EXPECT_EQ(wait_for_all(*queue).count(99), 1U);
}

TEST_P(TransferQueueTest, refused_transfers_count_until_they_are_collected) {
  Memory memory(4096);
  const auto pieces = memory.pieces(4096);
  for (std::uint64_t i = 0; i < 32; ++i)
    ASSERT_TRUE(queue->submit(transfer(Operation::read, image_bytes, pieces, i)));
  EXPECT_FALSE(queue->submit(transfer(Operation::read, 0, pieces, 99)));
  for (const auto& [token, error] : wait_for_all(*queue)) EXPECT_EQ(error, EINVAL) << token;
}

TEST_P(TransferQueueTest, a_completion_may_submit_the_next_transfer) {
  Memory memory(512);
  const auto pieces = memory.pieces(512);
  std::uint64_t done = 0;
  ASSERT_TRUE(queue->submit(transfer(Operation::read, 0, pieces, 0)));
  queue->start();
  while (queue->on_the_way() > 0) {
    pollfd waits = {queue->descriptor(), POLLIN, 0};
    ASSERT_EQ(::poll(&waits, 1, 20000), 1);
    queue->collect([&](const Completion&) {
      if (++done == 50) return;
      EXPECT_TRUE(queue->submit(transfer(Operation::read, done * 512, pieces, done)));
    });
    queue->start();
  }
  EXPECT_EQ(done, 50U);
}

TEST_P(TransferQueueTest, an_idle_queue_is_not_readable) {
  Memory memory(512);
  EXPECT_EQ(run(*queue, Operation::read, 0, memory.pieces(512)), 0);
  pollfd waits = {queue->descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&waits, 1, 0), 0);
}

TEST_P(TransferQueueTest, random_transfers_on_the_way_together_leave_what_they_wrote) {
  std::mt19937 random(17);
  std::string expected(image_bytes, '\0');
  for (int round = 0; round < 50; ++round) {
    std::vector<Memory> memories;
    std::vector<std::vector<iovec>> lists;
    for (int i = 0; i < 16; ++i) {  // Each in a part of its own: their order is not defined.
      const std::size_t sectors = 1 + random() % 32;
      const std::size_t at =
          static_cast<std::size_t>(i) * (image_bytes / 16) + random() % (128 - sectors) * 512;
      memories.emplace_back(sectors * 512);
      memories.back().fill(static_cast<unsigned>(random()));
      lists.push_back(memories.back().pieces(512 * (1 + random() % 8)));
      expected.replace(at, sectors * 512, memories.back().text());
      ASSERT_TRUE(queue->submit(transfer(Operation::write, at, lists.back(), at)));
    }
    for (const auto& [token, error] : wait_for_all(*queue)) EXPECT_EQ(error, 0) << token;
  }
  Memory all(image_bytes);
  EXPECT_EQ(run(*queue, Operation::read, 0, all.pieces(65536)), 0);
  EXPECT_TRUE(all.text() == expected);
}

TEST_P(TransferQueueTest, a_flush_is_done) { EXPECT_EQ(run(*queue, {Operation::flush, 0, 0, {}, 1}), 0); }

TEST_P(TransferQueueTest, a_discarded_part_reads_as_zeros_and_gives_its_place_back) {
  if (!image->geometry().can_discard) GTEST_SKIP() << "no holes in this file system";
  Memory memory(image_bytes);
  memory.fill(4);
  EXPECT_EQ(run(*queue, Operation::write, 0, memory.pieces(65536)), 0);
  EXPECT_EQ(run(*queue, {Operation::flush, 0, 0, {}, 1}), 0);
  EXPECT_EQ(run(*queue, {Operation::discard, 65536, image_bytes - 65536, {}, 1}), 0);
  Memory back(image_bytes);
  EXPECT_EQ(run(*queue, Operation::read, 0, back.pieces(65536)), 0);
  EXPECT_EQ(back.text(), memory.text().substr(0, 65536) + std::string(image_bytes - 65536, '\0'));
  struct stat is;
  ASSERT_EQ(::stat(path().c_str(), &is), 0);
  EXPECT_LT(is.st_blocks * 512, 131072);
  EXPECT_EQ(is.st_size, static_cast<off_t>(image_bytes));
}

TEST_P(TransferQueueTest, a_discard_is_not_offered_if_the_user_says_so) {
  open(path(), {.discard = false});
  EXPECT_FALSE(image->geometry().can_discard);
  EXPECT_EQ(run(*queue, {Operation::discard, 0, 4096, {}, 1}), EOPNOTSUPP);
}

TEST_P(TransferQueueTest, a_read_only_image_is_not_changed) {
  open(path(), {.read_only = true});
  EXPECT_TRUE(image->geometry().read_only);
  EXPECT_FALSE(image->geometry().can_discard);
  Memory memory(512);
  EXPECT_EQ(run(*queue, Operation::write, 0, memory.pieces(512)), EROFS);
  EXPECT_EQ(run(*queue, Operation::read, 0, memory.pieces(512)), 0);
}

TEST_P(TransferQueueTest, direct_io_takes_memory_of_any_alignment) {
  open(path(), {.direct_io = true});
  for (const std::size_t misaligned : {0, 512, 4, 1}) {
    Memory out(65536 + 512, misaligned), in(65536 + 512, misaligned);
    out.fill(static_cast<unsigned>(misaligned));
    EXPECT_EQ(run(*queue, Operation::write, 512, out.pieces(512)), 0) << misaligned;
    EXPECT_EQ(run(*queue, Operation::read, 512, in.pieces(1024)), 0) << misaligned;
    EXPECT_TRUE(in.text() == out.text()) << misaligned;
  }
}

TEST_P(TransferQueueTest, an_image_that_shrank_fails_reads_behind_its_end_and_serves_the_others) {
  std::filesystem::resize_file(path(), 65536 + 700);
  Memory memory(65536);
  EXPECT_EQ(run(*queue, Operation::read, 131072, memory.pieces(4096)), EIO);
  EXPECT_EQ(run(*queue, Operation::read, 32768, memory.pieces(4096)), EIO);  // Half of it is there.
  EXPECT_EQ(run(*queue, Operation::read, 0, memory.pieces(4096)), 0);
}

TEST_P(TransferQueueTest, an_image_that_grew_keeps_its_size_for_the_guest) {
  std::filesystem::resize_file(path(), 2 * image_bytes);
  Memory memory(512);
  EXPECT_EQ(image->geometry().sectors, image_bytes / 512);
  EXPECT_EQ(run(*queue, Operation::read, image_bytes - 512, memory.pieces(512)), 0);
  EXPECT_EQ(run(*queue, Operation::write, image_bytes, memory.pieces(512)), EINVAL);
}

TEST_P(TransferQueueTest, an_image_whose_name_is_removed_goes_on) {
  std::filesystem::remove(path());
  Memory out(4096), in(4096);
  out.fill(9);
  EXPECT_EQ(run(*queue, Operation::write, 0, out.pieces(4096)), 0);
  EXPECT_EQ(run(*queue, {Operation::flush, 0, 0, {}, 1}), 0);
  EXPECT_EQ(run(*queue, Operation::read, 0, in.pieces(4096)), 0);
  EXPECT_EQ(in.text(), out.text());
}

TEST_P(TransferQueueTest, a_limit_on_file_sizes_is_an_error_and_no_signal) {
  // The kernel sends SIGXFSZ besides. (The limit is the process's, and io_uring honours it, too.)
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ::getrlimit(RLIMIT_FSIZE, &limit);
  rlimit low = limit;
  low.rlim_cur = 65536;
  Memory memory(65536);
  memory.fill(5);
  ::setrlimit(RLIMIT_FSIZE, &low);
  const int behind = run(*queue, Operation::write, 131072, memory.pieces(4096));
  const int across = run(*queue, Operation::write, 32768, memory.pieces(4096));
  const int inside = run(*queue, Operation::write, 0, memory.pieces(4096));
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  EXPECT_EQ(behind, EFBIG);
  EXPECT_EQ(across, EFBIG);
  EXPECT_EQ(inside, 0);
}

TEST_P(TransferQueueTest, the_end_of_a_queue_waits_for_the_host) {
  for (int i = 0; i < 50; ++i) {
    Memory memory(65536);
    const auto pieces = memory.pieces(4096);
    for (std::uint64_t token = 0; token < 16; ++token)
      ASSERT_TRUE(queue->submit(transfer(Operation::read, token * 65536, pieces, token)));
    queue->start();
    ASSERT_TRUE(queue->submit(transfer(Operation::read, 0, pieces, 99)));  // Never started.
    queue.reset();
    // Under ASan, threads that write to `memory` after this point are found. The kernel's writes are not; but
    // they would end in the next round's memory, and the sum below would differ.
    memory = Memory(65536);
    std::memset(memory.data(), 'x', 65536);
    EXPECT_EQ(memory.text(), std::string(65536, 'x'));
    auto made = image->make_queue(32);
    ASSERT_TRUE(made) << made.error();
    queue = std::move(*made);
  }
}

TEST_P(TransferQueueTest, two_queues_of_an_image_see_each_others_writes) {
  auto second = image->make_queue(8);
  ASSERT_TRUE(second) << second.error();
  Memory out(8192), in(8192);
  out.fill(6);
  EXPECT_EQ(run(*queue, Operation::write, 0, out.pieces(4096)), 0);
  EXPECT_EQ(run(**second, Operation::read, 0, in.pieces(4096)), 0);
  EXPECT_EQ(in.text(), out.text());
}

TEST_P(TransferQueueTest, a_queue_of_no_or_too_many_transfers_is_refused_in_one_line) {
  for (const std::size_t depth : {std::size_t{0}, max_queue_depth + 1}) {
    const auto made = image->make_queue(depth);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().find('\n'), std::string::npos);
  }
  EXPECT_TRUE(image->make_queue(max_queue_depth));
}

TEST(ThreadQueueEnd, waits_for_a_transfer_that_no_thread_has_begun) {
  const TemporaryFolder folder;
  const auto path = folder.image(4096);
  std::ofstream(path, std::ios::in | std::ios::out) << "content";
  ImageFile file(vmm::Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC)), "disk", {.sectors = 8}, {});
  IoThreads threads(1);
  threads.add([] { std::this_thread::sleep_for(std::chrono::milliseconds(100)); });
  Memory memory(512);
  const auto pieces = memory.pieces(512);
  {
    ThreadQueue queue(file, threads, 1, *WakeFd::make());
    ASSERT_TRUE(queue.submit(transfer(Operation::read, 0, pieces)));
    queue.start();
  }
  EXPECT_STREQ(memory.data(), "content");
}

TEST(ImageFileTest, after_a_flush_that_failed_no_flush_and_no_write_succeeds) {
  const TemporaryFolder folder;
  ImageFile file(vmm::Fd(::open(folder.image(4096).c_str(), O_RDWR | O_CLOEXEC)), "disk", {.sectors = 8}, {});
  EXPECT_EQ(file.result_of({Operation::flush, 0, 0, {}, 1}, 0), 0);
  EXPECT_EQ(file.result_of({Operation::write, 0, 512, {}, 1}, ENOSPC), ENOSPC);
  EXPECT_EQ(file.result_of({Operation::flush, 0, 0, {}, 1}, 0), 0);
  EXPECT_EQ(file.result_of({Operation::flush, 0, 0, {}, 1}, EIO), EIO);
  EXPECT_EQ(file.result_of({Operation::flush, 0, 0, {}, 1}, 0), EIO);
  EXPECT_EQ(file.result_of({Operation::write, 0, 512, {}, 1}, 0), EIO);
  EXPECT_EQ(file.result_of({Operation::read, 0, 512, {}, 1}, 0), 0);
}

// A file system of its own, in namespaces of its own, which is full after 64 KiB.
class FullFileSystem : public testing::TestWithParam<Engine> {};

TEST_P(FullFileSystem, fails_writes_and_keeps_what_was_written) {
  const TemporaryFolder folder;
  std::thread([&] {
    if (::unshare(CLONE_FS | CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0)
      GTEST_SKIP() << "mounting needs root";
    auto opened = open_raw_image(folder.image(1 << 20), {.engine = GetParam()});
    if (!opened) GTEST_SKIP() << opened.error();
    auto queue = opened->image->make_queue(4);
    ASSERT_TRUE(queue) << queue.error();
    Memory out(32768), in(32768), large(1 << 19);
    out.fill(1);
    EXPECT_EQ(run(**queue, Operation::write, 0, out.pieces(4096)), 0);
    EXPECT_EQ(run(**queue, Operation::write, 1 << 19, large.pieces(4096)), ENOSPC);
    EXPECT_EQ(run(**queue, Operation::read, 0, in.pieces(4096)), 0);
    EXPECT_EQ(in.text(), out.text());
  }).join();
}

INSTANTIATE_TEST_SUITE_P(Engines, FullFileSystem, testing::Values(Engine::io_uring, Engine::threads),
                         [](const auto& engine) {
                           return engine.param == Engine::io_uring ? "io_uring" : "threads";
                         });

INSTANTIATE_TEST_SUITE_P(Engines, TransferQueueTest, testing::Values(Engine::io_uring, Engine::threads),
                         [](const auto& engine) {
                           return engine.param == Engine::io_uring ? "io_uring" : "threads";
                         });

}  // namespace
}  // namespace pinfold::devices::block
