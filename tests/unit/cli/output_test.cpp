// Output is written whole and in order, and offer() never waits for the reader.
#include "cli/run/output.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <string>

namespace pinfold::cli {
namespace {

class Output : public testing::Test {
 protected:
  Output() {
    EXPECT_EQ(::pipe(ends_), 0);
    ::fcntl(ends_[1], F_SETPIPE_SZ, 4096);
  }
  ~Output() override {
    for (const int end : ends_)
      if (end >= 0) ::close(end);
  }
  /// What came, as soon as something has; empty at the end.
  std::string read_some(std::size_t most = 10'000) {
    std::string bytes(most, 0);
    const ssize_t n = ::read(ends_[0], bytes.data(), bytes.size());
    bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return bytes;
  }
  void close_reader() { ::close(std::exchange(ends_[0], -1)); }
  void close_writer() { ::close(std::exchange(ends_[1], -1)); }
  static auto bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }
  static std::string numbers(int first, int last) {
    std::string text;
    for (int i = first; i < last; ++i) text += std::to_string(i) + '\n';
    return text;
  }

  int ends_[2] = {-1, -1};
};

TEST_F(Output, comes_whole_and_in_order_however_slow_its_reader_is) {
  const std::string text = numbers(0, 30'000);
  std::string got;
  std::atomic<bool> room = true;
  OutputWriter writer(ends_[1]);
  writer.on_room([&] { room = true; });
  for (std::size_t done = 0; done < text.size();) {
    if (!room) {
      got += read_some(1000);
      continue;
    }
    room = false;
    const std::string piece = text.substr(done, 3000);
    const std::size_t taken = writer.offer(bytes_of(piece));
    if (taken == piece.size()) room = true;
    done += taken;
  }
  std::thread end([&] {
    writer.finish();
    close_writer();
  });
  for (std::string more; !(more = read_some(1000)).empty();) got += more;
  end.join();
  EXPECT_TRUE(got == text);
}

TEST_F(Output, that_nobody_reads_is_taken_up_to_the_limit_and_holds_nobody_up) {
  const std::string text(OutputWriter::limit / 2, 'x');
  OutputWriter writer(ends_[1]);
  std::size_t taken = 0;
  for (int i = 0; i < 100; ++i) taken += writer.offer(bytes_of(text));
  EXPECT_GE(taken, OutputWriter::limit);
  EXPECT_LE(taken, OutputWriter::limit + 3 * 4096);  // what the pipe has, and what is on its way there
  writer.take_everything();
  EXPECT_EQ(writer.offer(bytes_of(text)), text.size());
}  // and the writer ends although nothing reads

TEST_F(Output, who_is_in_a_hurry_does_not_wait_for_a_reader_that_has_stopped) {
  OutputWriter writer(ends_[1]);
  (void)writer.offer(bytes_of(std::string(20'000, 'x')));
  std::atomic<bool> finished = false;
  std::thread end([&] {
    writer.finish();
    finished = true;
  });
  std::this_thread::sleep_for(2 * OutputWriter::patience);
  EXPECT_FALSE(finished) << "a reader has any time";
  writer.hurry();
  end.join();
}

TEST_F(Output, that_is_on_its_way_is_still_read_by_who_reads_on_in_a_hurry) {
  const std::string text = numbers(0, 5000);
  OutputWriter writer(ends_[1]);
  ASSERT_EQ(writer.offer(bytes_of(text)), text.size());
  writer.hurry();
  std::thread end([&] {
    writer.finish();
    close_writer();
  });
  std::string got;
  for (std::string more; !(more = read_some()).empty();) got += more;
  end.join();
  EXPECT_TRUE(got == text);
}

TEST_F(Output, whose_reader_is_gone_is_dropped) {
  OutputWriter writer(ends_[1]);
  std::atomic<int> told = 0;
  writer.on_room([&] { ++told; });
  const std::string text(OutputWriter::limit, 'x');
  while (writer.offer(bytes_of(text)) == text.size()) continue;
  close_reader();
  while (writer.offer(bytes_of(text)) != text.size()) std::this_thread::yield();
  writer.finish();
  EXPECT_EQ(writer.offer(bytes_of(text)), text.size());
  EXPECT_GE(told, 1) << "who waited for room goes on";
}

}  // namespace
}  // namespace pinfold::cli
