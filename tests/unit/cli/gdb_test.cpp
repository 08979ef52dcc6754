// GDB's protocol: its frames, its requests, and what else may come in on the socket.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "cli/gdb/listener.hpp"
#include "cli/gdb/session.hpp"

namespace pinfold::cli::gdb::test {
namespace {

using namespace std::string_literals;
using Kind = PacketReader::Event::Kind;

/// Three vCPUs, the last of them down; 64 bytes of memory at 0x1000.
class FakeTarget final : public Target {
 public:
  std::uint32_t cpus() const override { return 3; }
  bool is_up(std::uint32_t cpu) override { return cpu < 2; }
  std::string describe(std::uint32_t cpu) override { return "vCPU " + std::to_string(cpu); }
  CpuRegisters registers(std::uint32_t cpu) override { return files[cpu]; }
  void set_registers(std::uint32_t cpu, const CpuRegisters& r) override { files[cpu] = r; }
  std::size_t read(std::uint32_t, std::uint64_t from, std::span<std::byte> to) override {
    largest_read = std::max(largest_read, to.size());
    std::size_t i = 0;
    for (; i < to.size() && from + i >= base && from + i < base + memory.size(); ++i)
      to[i] = memory[from + i - base];
    return i;
  }
  bool write(std::uint32_t, std::uint64_t to, std::span<const std::byte> from) override {
    if (to < base || to > base + memory.size() || from.size() > base + memory.size() - to) return false;
    std::copy(from.begin(), from.end(), memory.begin() + static_cast<std::ptrdiff_t>(to - base));
    return true;
  }
  bool insert_breakpoint(std::uint32_t, std::uint64_t at) override {
    return at >= base && breakpoints.insert(at).second;
  }
  bool remove_breakpoint(std::uint32_t, std::uint64_t at) override { return breakpoints.erase(at) != 0; }
  void resume(const std::vector<Motion>& m) override { motions = m; }
  Stop interrupt() override { return {Stop::Why::interrupted, 1}; }
  void let_go() override { ++let_go_calls; }
  void kill() override { ++kills; }

  static constexpr std::uint64_t base = 0x1000;
  std::array<std::byte, 64> memory{};
  std::array<CpuRegisters, 3> files;
  std::set<std::uint64_t> breakpoints;
  std::vector<Motion> motions;
  int let_go_calls = 0, kills = 0;
  std::size_t largest_read = 0;
};

class GdbSession : public ::testing::Test {
 protected:
  /// The answer's content, checked to come acknowledged and whole.
  std::string ask(std::string_view packet) {
    const std::string out = session.take(framed(packet));
    if (out == "+") return "(runs)";
    PacketReader reader;
    for (const char c : out)
      if (const auto event = reader.take(c)) return event->payload;
    return "(nothing)";
  }
  FakeTarget target;
  Session session{target, Stop{Stop::Why::interrupted, 0}};
};

TEST_F(GdbSession, no_more_memory_is_read_than_fits_into_a_packet) {
  EXPECT_EQ(ask("m1000,100000").size(), 2 * target.memory.size());
  EXPECT_GT(target.largest_read, 0U);
  EXPECT_LE(2 * target.largest_read, PacketReader::longest);
}

std::vector<PacketReader::Event> read_all(std::string_view bytes) {
  PacketReader reader;
  std::vector<PacketReader::Event> events;
  for (const char c : bytes)
    if (auto event = reader.take(c)) events.push_back(std::move(*event));
  return events;
}

TEST(GdbPacket, what_is_framed_is_read_back) {
  const std::string payload = "a}b#c$d*e\0f\x03"s;
  const auto events = read_all(framed(payload));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, Kind::packet);
  EXPECT_EQ(events[0].payload, payload);
}

TEST(GdbPacket, acknowledgements_and_interrupts_are_told_apart) {
  const auto events = read_all("++-\x03" + framed("?") + "\x03");
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].kind, Kind::interrupt);
  EXPECT_EQ(events[1].payload, "?");
  EXPECT_EQ(events[2].kind, Kind::interrupt);
}

TEST(GdbPacket, damaged_ones_are_noticed) {
  EXPECT_EQ(read_all("$?#00")[0].kind, Kind::damaged);
  EXPECT_EQ(read_all("$?#zz")[0].kind, Kind::damaged);
  EXPECT_EQ(read_all("$lost" + framed("?")).back().payload, "?");
}

TEST(GdbPacket, what_no_debugger_sends_is_told) {
  for (const char* bytes : {"x", "\n", "+\r", "-\xff", "$?#3fx"})
    EXPECT_EQ(read_all(bytes).back().kind, Kind::foreign) << bytes;
  EXPECT_EQ(read_all(std::string(1, '\0'))[0].kind, Kind::foreign);
  // Before the end of it, which may never come.
  EXPECT_EQ(read_all("$" + std::string(PacketReader::longest + 1, 'a'))[0].kind, Kind::foreign);
}

TEST(GdbPacket, a_debugger_begins_in_three_ways) {
  for (int byte = 0; byte < 256; ++byte)
    EXPECT_EQ(PacketReader::begins(static_cast<char>(byte)), byte == '+' || byte == '$' || byte == 3) << byte;
}

TEST(GdbPacket, the_longest_is_taken) {
  const std::string payload(PacketReader::longest, 'a');
  EXPECT_EQ(read_all(framed(payload))[0].payload, payload);
}

TEST(GdbRegisters, description_and_packed_form_agree) {
  std::size_t size = 0, n = 0;
  while (const auto slice = slice_of(n)) {
    EXPECT_EQ(slice->offset, size) << n;
    size += slice->size;
    ++n;
  }
  EXPECT_EQ(size, pack(CpuRegisters{}).size());
  EXPECT_NE(target_description().find("name=\"rip\" bitsize=\"64\""), std::string::npos);
}

TEST(GdbRegisters, what_is_packed_comes_back) {
  CpuRegisters r;
  for (std::size_t i = 0; i < 16; ++i) r.general.gpr[i] = 0x1111111111111111 * i;
  r.general.rip = 0xffffffff81000000;
  r.general.rflags = 0x246;
  r.fs_base = 7, r.gs_base = 0xffff888000000000;
  r.fpu.ftwx = 0x81;
  r.fpu.mxcsr = 0x1f80;
  r.fpu.xmm[15][3] = 9;
  r.fpu.fpr[7][9] = 5;
  CpuRegisters back;
  ASSERT_TRUE(unpack(back, pack(r)));
  EXPECT_EQ(pack(back), pack(r));
  EXPECT_FALSE(unpack(back, pack(r) + "x"));
}

TEST_F(GdbSession, tells_of_its_threads) {
  EXPECT_EQ(ask("qfThreadInfo"), "m1,2");
  EXPECT_EQ(ask("qsThreadInfo"), "l");
  EXPECT_EQ(ask("qThreadExtraInfo,2"), hex_of("vCPU 1"));
  EXPECT_EQ(ask("T2"), "OK");
  EXPECT_EQ(ask("T3"), "E03");
  EXPECT_EQ(ask("T99"), "E03");
  EXPECT_EQ(ask("?"), "T02thread:1;");
}

TEST_F(GdbSession, registers_are_those_of_the_thread_that_was_chosen) {
  target.files[1].general.rip = 0x1234;
  EXPECT_EQ(ask("Hg2"), "OK");
  EXPECT_EQ(ask("p10"), "3412000000000000");
  EXPECT_EQ(ask("P10=7856000000000000"), "OK");
  EXPECT_EQ(target.files[1].general.rip, 0x5678U);
  EXPECT_EQ(ask("P10=78"), "E16");
  EXPECT_EQ(ask("pffff"), "E16");
  EXPECT_EQ(ask("Hg9"), "E03");
  const std::string all = ask("g");
  EXPECT_EQ(ask("G" + all), "OK");
  EXPECT_EQ(ask("G12"), "E16");
}

TEST_F(GdbSession, memory_is_read_as_far_as_it_is_there_and_written_as_a_whole) {
  EXPECT_EQ(ask("M1000,3:010203"), "OK");
  EXPECT_EQ(ask("m1000,4"), "01020300");
  EXPECT_EQ(ask("m103e,8"), "0000");
  EXPECT_EQ(ask("m2000,8"), "E0e");
  EXPECT_EQ(ask("M103e,8:0102030405060708"), "E0e");
  EXPECT_EQ(ask("M1000,3:01"), "E16");
  EXPECT_EQ(ask("m1000,ffffffffffffffff").size(), 2 * target.memory.size());
  EXPECT_EQ(ask("m10000000000000000,1"), "E16");
}

TEST_F(GdbSession, breakpoints_are_software_ones) {
  EXPECT_EQ(ask("Z0,1004,1"), "OK");
  EXPECT_TRUE(target.breakpoints.contains(0x1004));
  EXPECT_EQ(ask("Z0,10,1"), "E0e");
  EXPECT_EQ(ask("Z1,1004,1"), "");
  EXPECT_EQ(ask("z0,1004,1"), "OK");
  EXPECT_TRUE(target.breakpoints.empty());
}

TEST_F(GdbSession, each_thread_moves_as_the_first_action_that_fits_it_says) {
  EXPECT_EQ(ask("vCont;s:2;c"), "(runs)");
  EXPECT_EQ(target.motions, (std::vector{Motion::run, Motion::step, Motion::run}));
  EXPECT_TRUE(session.is_running());
  EXPECT_EQ(session.stopped({Stop::Why::breakpoint, 1}), framed("T05swbreak:;thread:2;"));
  EXPECT_EQ(ask("vCont;s:1"), "(runs)");
  EXPECT_EQ(target.motions, (std::vector{Motion::step, Motion::stay, Motion::stay}));
}

TEST_F(GdbSession, an_interrupt_stops_a_running_guest_and_nothing_else_is_answered_meanwhile) {
  EXPECT_EQ(ask("c"), "(runs)");
  EXPECT_EQ(ask("g"), "(runs)");
  EXPECT_EQ(session.take("\x03"), framed("T02thread:2;"));
  EXPECT_EQ(session.take("\x03"), "");
  EXPECT_EQ(ask("qC"), "QC2");
}

TEST_F(GdbSession, bad_actions_move_nothing) {
  for (const char* packet : {"vCont;x", "vCont;c:99", "vCont;c:", "vCont;;"}) {
    (void)ask(packet);
    EXPECT_FALSE(session.is_running()) << packet;
  }
  EXPECT_TRUE(target.motions.empty());
}

TEST_F(GdbSession, leaving_lets_the_guest_go_and_killing_ends_it) {
  EXPECT_EQ(ask("D"), "OK");
  EXPECT_TRUE(session.is_over());
  EXPECT_EQ(target.let_go_calls, 1);
  Session other(target, {});
  (void)other.take(framed("k"));
  EXPECT_TRUE(other.is_over());
  EXPECT_EQ(target.kills, 1);
}

TEST_F(GdbSession, a_request_of_a_browser_ends_it_and_nothing_in_that_is_obeyed) {
  const std::string post = "POST / HTTP/1.1\r\nHost: 127.0.0.1:1234\r\nContent-Length: 9\r\n\r\n";
  EXPECT_EQ(session.take(post + framed("M1000,1:ff") + framed("k")), "");
  EXPECT_TRUE(session.is_over());
  EXPECT_EQ(target.let_go_calls, 1);
  EXPECT_EQ(target.kills, 0);
  EXPECT_EQ(target.memory[0], std::byte{0});
  // In the middle of one, too.
  Session other(target, {});
  EXPECT_EQ(other.take("+" + framed("?")), "+" + framed("T02thread:1;"));
  EXPECT_EQ(other.take("GET " + framed("k")), "");
  EXPECT_TRUE(other.is_over());
  EXPECT_EQ(target.kills, 0);
}

TEST_F(GdbSession, without_acknowledgements_after_they_were_turned_off) {
  EXPECT_EQ(ask("QStartNoAckMode"), "OK");
  EXPECT_EQ(session.take(framed("qC")), framed("QC1"));
  EXPECT_EQ(session.take("$bad#00"), "");
}

TEST_F(GdbSession, the_description_comes_in_pieces) {
  std::string text;
  std::string piece = "m";
  while (piece[0] == 'm') {
    char packet[64];
    std::snprintf(packet, sizeof packet, "qXfer:features:read:target.xml:%zx,100", text.size());
    piece = ask(packet);
    text += piece.substr(1);
  }
  EXPECT_EQ(text, target_description());
  EXPECT_EQ(ask("qXfer:features:read:target.xml:ffffffffffffffff,100"), "l");
}

TEST_F(GdbSession, random_packets_are_answered_or_refused) {
  std::mt19937 random(1);
  const std::string letters = "?qHTcsDkgGpPmMZzvX0123456789abcdef,;:=.-}#$\x03\xff";
  for (int round = 0; round < 20'000; ++round) {
    Session fresh(target, {});
    std::string packet;
    for (std::size_t n = random() % 24; n > 0; --n) packet += letters[random() % letters.size()];
    (void)fresh.take(framed(packet));
    (void)fresh.take(packet);
    (void)fresh.take("\x03");
  }
}

TEST(GdbListener, takes_only_places_of_this_machine) {
  for (const char* place : {"", "unix:", "tcp:", "tcp:1234", "tcp:0.0.0.0:1234", "tcp:127.0.0.1:0",
                            "tcp:127.0.0.1:65536", "tcp:127.0.0.1:12x", "tcp:example.org:1234", "1234"})
    EXPECT_FALSE(Listener::open(place)) << place;
  EXPECT_FALSE(Listener::open("unix:/" + std::string(200, 'x')));
}

TEST(GdbListener, file_in_the_way_stays) {
  const std::string path = ::testing::TempDir() + "pinfold-gdb-test-" + std::to_string(::getpid());
  std::fclose(std::fopen(path.c_str(), "w"));
  EXPECT_FALSE(Listener::open("unix:" + path));
  EXPECT_EQ(std::remove(path.c_str()), 0);
  {
    const auto listener = Listener::open("unix:" + path);
    EXPECT_TRUE(listener);
    EXPECT_FALSE(Listener::open("unix:" + path));
  }
  EXPECT_NE(std::remove(path.c_str()), 0);
}

}  // namespace
}  // namespace pinfold::cli::gdb::test
