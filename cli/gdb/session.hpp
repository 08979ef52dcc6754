// One debugger's session: its requests and their answers (GDB manual, appendix E).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cli/gdb/packet.hpp"
#include "cli/gdb/target.hpp"

namespace pinfold::cli::gdb {

/// All-stop mode, a thread per vCPU: thread n is vCPU n - 1. Of untrusted input: any bytes may come.
class Session {
 public:
  /// `target` is stopped.
  Session(Target& target, Stop stop) : target_(target), stop_(stop), general_(stop.cpu) {}

  /// What to send for bytes that came in: acknowledgements and answers. The first byte that no debugger sends
  /// ends the session, as the debugger's leave does.
  [[nodiscard]] std::string take(std::string_view bytes);
  /// What to send when the running guest has stopped.
  [[nodiscard]] std::string stopped(Stop stop);
  [[nodiscard]] bool is_running() const { return running_; }
  /// The debugger has taken its leave, or was none: the guest has been let go, or ended.
  [[nodiscard]] bool is_over() const { return over_; }

 private:
  using Reply = std::optional<std::string>;  ///< None: the guest runs, and the answer is its stop.

  [[nodiscard]] std::string handle(const PacketReader::Event& event);
  [[nodiscard]] Reply answer(std::string_view packet);
  [[nodiscard]] Reply answer_data(char command, std::string_view rest);
  [[nodiscard]] std::string query(std::string_view rest);
  [[nodiscard]] std::string query_features(std::string_view rest) const;
  [[nodiscard]] std::string list_threads();
  [[nodiscard]] std::string describe_thread(std::string_view rest);
  [[nodiscard]] std::string select_thread(std::string_view rest);
  [[nodiscard]] std::string is_alive(std::string_view rest);
  [[nodiscard]] std::string read_registers();
  [[nodiscard]] std::string write_registers(std::string_view rest);
  [[nodiscard]] std::string read_register(std::string_view rest);
  [[nodiscard]] std::string write_register(std::string_view rest);
  [[nodiscard]] std::string read_memory(std::string_view rest);
  [[nodiscard]] std::string write_memory(std::string_view rest);
  [[nodiscard]] std::string breakpoint(std::string_view rest, bool insert);
  [[nodiscard]] Reply resume_some(std::string_view actions);
  [[nodiscard]] Reply resume_all(Motion motion, std::string_view rest);
  [[nodiscard]] std::string leave(bool kill);
  [[nodiscard]] std::string stop_reply() const;
  [[nodiscard]] std::optional<std::uint32_t> cpu_of(std::string_view& thread) const;

  Target& target_;
  PacketReader reader_;
  Stop stop_;
  std::uint32_t general_;  ///< The vCPU that registers and memory are asked of.
  bool running_ = false;
  bool over_ = false;
  bool acknowledges_ = true;
};

}  // namespace pinfold::cli::gdb
