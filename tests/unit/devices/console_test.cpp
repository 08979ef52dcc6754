#include "devices/console.hpp"

#include <gtest/gtest.h>

#include <string>

#include "devices/console_io.hpp"
#include "devices/xen_abi.hpp"
#include "fakes.hpp"

namespace pinfold::devices {
namespace {

constexpr std::size_t in_cons = 3072, in_prod = 3076, out_cons = 3080, out_prod = 3084;

class ConsoleTest : public testing::Test {
 protected:
  /// The guest's side of the output ring.
  void print(const std::string& text) {
    auto page = ring.shared();
    auto prod = page.load<std::uint32_t>(out_prod);
    for (const char c : text) page.store(1024 + (prod++ & 2047), c);
    page.store(out_prod, prod);
    console.on_guest_event();
  }
  /// The guest's side of the input ring.
  std::string take_input() {
    auto page = ring.shared();
    std::string text;
    auto cons = page.load<std::uint32_t>(in_cons);
    while (cons != page.load<std::uint32_t>(in_prod)) text += page.load<char>(cons++ & 1023);
    page.store(in_cons, cons);
    console.on_guest_event();
    return text;
  }
  void set(std::size_t index, std::uint32_t value) { ring.shared().store(index, value); }

  FakePage ring;
  std::string printed;
  int notified = 0;
  std::size_t room = ~std::size_t{0};  ///< Of the sink.
  Console console{ring.shared(),
                  [this](auto bytes) {
                    const auto taken = bytes.first(std::min(room, bytes.size()));
                    printed += to_text(taken);
                    room -= taken.size();
                    return taken.size();
                  },
                  [this] { ++notified; }};
};

TEST_F(ConsoleTest, output_arrives_whole_and_in_order_across_the_wrap) {
  std::string expected;
  for (int i = 0; i < 50; ++i) {
    const std::string line(137, static_cast<char>('a' + i % 26));
    print(line);
    expected += line;
  }
  EXPECT_EQ(printed, expected);
  EXPECT_EQ(ring.shared().load<std::uint32_t>(out_cons), expected.size());
  EXPECT_EQ(notified, 50);
}

TEST_F(ConsoleTest, output_that_nobody_takes_waits_in_the_ring_and_comes_in_order) {
  room = 100;
  print(std::string(300, 'a'));
  EXPECT_EQ(printed.size(), 100u);
  print(std::string(1000, 'b'));
  print(std::string(1048, 'c'));
  EXPECT_EQ(printed.size(), 100u);
  EXPECT_EQ(ring.shared().load<std::uint32_t>(out_cons), 300u) << "the guest finds its ring full";
  const int before = notified;
  room = 50;
  console.on_room();
  EXPECT_EQ(printed.size(), 150u);
  EXPECT_EQ(notified, before);
  room = 10'000;
  console.on_room();
  EXPECT_EQ(printed, std::string(300, 'a') + std::string(1000, 'b') + std::string(1048, 'c'));
  EXPECT_EQ(notified, before + 1) << "who waits for room is told";
}

TEST_F(ConsoleTest, input_comes_while_nobody_takes_output) {
  room = 0;
  print("stuck");
  const std::string typed = "typed";
  EXPECT_EQ(console.write_input(std::as_bytes(std::span(typed))), typed.size());
  EXPECT_EQ(take_input(), typed);
}

TEST_F(ConsoleTest, a_full_ring_is_legal) {
  print(std::string(2048, 'x'));
  EXPECT_EQ(printed.size(), 2048u);
  EXPECT_FALSE(console.misbehaved());
}

TEST_F(ConsoleTest, indices_survive_their_wrap_at_32_bits) {
  set(out_cons, 0xfffffff0);
  set(out_prod, 0xfffffff0);
  std::string got;
  const auto take = [&](auto bytes) {
    got += to_text(bytes);
    return bytes.size();
  };
  Console late(ring.shared(), take, {});
  set(out_prod, 0x10);
  late.on_guest_event();
  EXPECT_EQ(got.size(), 32u);
  EXPECT_FALSE(late.misbehaved());
}

TEST_F(ConsoleTest, a_producer_far_ahead_prints_nothing_and_recovers) {
  set(out_prod, 2049);
  console.on_guest_event();
  set(out_prod, 0xffffffff);
  console.on_guest_event();
  EXPECT_TRUE(printed.empty());
  EXPECT_TRUE(console.misbehaved());
  EXPECT_EQ(notified, 0);
  set(out_prod, 3);
  console.on_guest_event();
  EXPECT_EQ(printed.size(), 3u);
}

TEST_F(ConsoleTest, a_guest_that_moves_our_consumer_index_changes_nothing) {
  print("abc");
  set(out_cons, 1000);
  print("def");
  EXPECT_EQ(printed, "abcdef");
}

TEST_F(ConsoleTest, input_waits_until_the_guest_makes_room) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += static_cast<char>('0' + i % 10);
  EXPECT_EQ(console.write_input(as_bytes(text)), text.size());
  EXPECT_EQ(notified, 1);
  std::string got;
  for (int i = 0; i < 4; ++i) got += take_input();
  EXPECT_EQ(got, text);
}

TEST_F(ConsoleTest, input_is_bounded) {
  const std::string text(Console::input_limit + 5000, 'x');
  const auto accepted = console.write_input(as_bytes(text));
  EXPECT_EQ(accepted, Console::input_limit);
  EXPECT_EQ(console.write_input(as_bytes(text)), 1024u) << "what the ring took makes room in the queue";
  EXPECT_EQ(console.write_input(as_bytes(text)), 0u);
}

TEST_F(ConsoleTest, an_input_consumer_out_of_range_gets_no_input) {
  set(in_cons, 5);
  EXPECT_EQ(console.write_input(as_bytes("hello")), 5u);
  EXPECT_EQ(ring.shared().load<std::uint32_t>(in_prod), 0u);
  EXPECT_TRUE(console.misbehaved());
}

TEST(ConsoleIo, a_write_that_is_not_taken_whole_is_made_again_for_the_rest) {
  FakeMemory memory;
  std::string printed;
  ConsoleIo io([&](auto bytes) {
    const auto taken = bytes.first(std::min<std::size_t>(bytes.size(), 7));
    printed += to_text(taken);
    return taken.size();
  });
  const std::string text = "twenty bytes in all.";
  ASSERT_TRUE(memory.write(GuestVaddr(FakeMemory::base), as_bytes(text)));
  vmm::Hypercall call{VcpuId(0), 18, {CONSOLEIO_write, text.size(), FakeMemory::base}, memory};
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(io.console_io(call), 0);
    EXPECT_EQ(call.completion, vmm::Completion::restart);
  }
  call.completion = vmm::Completion::result;
  EXPECT_EQ(io.console_io(call), 0);
  EXPECT_EQ(call.completion, vmm::Completion::result);
  EXPECT_EQ(printed, text);
}

std::int64_t call_console_io(ConsoleIo& io, FakeMemory& memory, std::uint64_t cmd, std::uint64_t count,
                             std::uint64_t address = FakeMemory::base) {
  vmm::Hypercall call{VcpuId(0), 18, {cmd, count, address}, memory};
  return io.console_io(call);
}

TEST(ConsoleIo, is_eperm_as_in_a_release_xen_unless_a_debug_console_is_given) {
  FakeMemory memory;
  ConsoleIo io;
  EXPECT_EQ(call_console_io(io, memory, CONSOLEIO_write, 3), -1);
  EXPECT_EQ(call_console_io(io, memory, CONSOLEIO_read, 3), -1);
}

TEST(ConsoleIo, the_debug_console_prints_what_is_readable_and_bounded) {
  FakeMemory memory;
  std::string printed;
  ConsoleIo io([&](auto bytes) {
    printed += to_text(bytes);
    return bytes.size();
  });
  const std::string text(1500, 'y');
  ASSERT_TRUE(memory.write(GuestVaddr(FakeMemory::base), as_bytes(text)));
  EXPECT_EQ(call_console_io(io, memory, CONSOLEIO_write, text.size()), 0);
  EXPECT_EQ(printed, text);
  EXPECT_EQ(call_console_io(io, memory, CONSOLEIO_write, 10, 8), -14);
  EXPECT_EQ(call_console_io(io, memory, CONSOLEIO_write, ConsoleIo::write_limit + 1), -7);
  EXPECT_EQ(call_console_io(io, memory, CONSOLEIO_read, 0x80000000), -7);
  EXPECT_EQ(call_console_io(io, memory, CONSOLEIO_read, 100), 0);
  EXPECT_EQ(call_console_io(io, memory, 2, 0), -38);
}

}  // namespace
}  // namespace pinfold::devices
