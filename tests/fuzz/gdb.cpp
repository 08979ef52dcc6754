// A debugger's input: with any bytes, a session asks its target only for what the protocol allows.
#include <algorithm>
#include <array>

#include "cli/gdb/session.hpp"
#include "input.hpp"

namespace {

using namespace pinfold::cli::gdb;
using pinfold::fuzz::promise;

/// A target with two vCPUs and a page of memory, which records whether the guest runs.
class Guest final : public Target {
 public:
  std::uint32_t cpus() const override { return 2; }
  bool is_up(std::uint32_t cpu) override { return stopped(cpu); }
  std::string describe(std::uint32_t cpu) override { return stopped(cpu) ? "vCPU" : ""; }
  CpuRegisters registers(std::uint32_t cpu) override {
    (void)stopped(cpu);
    return files_[cpu];
  }
  void set_registers(std::uint32_t cpu, const CpuRegisters& r) override {
    (void)stopped(cpu);
    files_[cpu] = r;
  }
  std::size_t read(std::uint32_t cpu, std::uint64_t from, std::span<std::byte> to) override {
    (void)stopped(cpu);
    promise(to.size() <= PacketReader::longest, "an answer is bounded");
    if (from >= memory_.size()) return 0;
    const std::size_t size = std::min<std::size_t>(to.size(), memory_.size() - from);
    std::copy_n(memory_.begin() + static_cast<std::ptrdiff_t>(from), size, to.begin());
    return size;
  }
  bool write(std::uint32_t cpu, std::uint64_t to, std::span<const std::byte> from) override {
    (void)stopped(cpu);
    if (to > memory_.size() || from.size() > memory_.size() - to) return false;
    std::copy(from.begin(), from.end(), memory_.begin() + static_cast<std::ptrdiff_t>(to));
    return true;
  }
  bool insert_breakpoint(std::uint32_t cpu, std::uint64_t) override { return stopped(cpu); }
  bool remove_breakpoint(std::uint32_t cpu, std::uint64_t) override { return stopped(cpu); }
  void resume(const std::vector<Motion>& motions) override {
    promise(!running_ && motions.size() == cpus(), "each vCPU of a stopped guest has its motion");
    running_ = true;
  }
  Stop interrupt() override {
    promise(running_, "only what runs is interrupted");
    return halt();
  }
  void let_go() override { leave(); }
  void kill() override { leave(); }

  Stop halt() {
    running_ = false;
    return {Stop::Why::breakpoint, 1};
  }
  [[nodiscard]] bool running() const { return running_; }

 private:
  [[nodiscard]] bool stopped(std::uint32_t cpu) const {
    promise(!running_ && !left_, "only a stopped guest is looked at");
    promise(cpu < cpus(), "the vCPU is there");
    return true;
  }
  void leave() {
    promise(!left_, "a debugger leaves once");
    left_ = true;
  }
  std::array<CpuRegisters, 2> files_;
  std::array<std::byte, 4096> memory_{};
  bool running_ = false, left_ = false;
};

}  // namespace

/// Feeds the input. At a zero byte a running guest stops by itself.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Guest guest;
  Session session(guest, {});
  for (std::size_t i = 0; i < size; ++i) {
    const char byte = static_cast<char>(data[i]);
    const std::string out = byte == 0 && guest.running() ? session.stopped(guest.halt())
                                                         : session.take(std::string_view(&byte, 1));
    promise(out.size() <= 3 * PacketReader::longest, "an answer is bounded");
    promise(session.is_over() || session.is_running() == guest.running(), "both know whether the guest runs");
  }
  return 0;
}
