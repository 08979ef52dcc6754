#include "cli/gdb/session.hpp"

#include <fmt/format.h>

namespace pinfold::cli::gdb {
namespace {

const std::string ok = "OK", unsupported;
/// Numbers of errors mean nothing to GDB; these are errno's.
const std::string no_such_thread = "E03", bad_memory = "E0e", malformed = "E16";

constexpr int sigint = 2, sigtrap = 5;
constexpr std::size_t most_memory = PacketReader::longest / 2 - 16;

std::string_view as_text(const std::vector<std::byte>& bytes, std::string& storage) {
  storage.assign(bytes.size(), '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) storage[i] = static_cast<char>(bytes[i]);
  return storage;
}

std::vector<std::byte> as_bytes(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) bytes[i] = static_cast<std::byte>(text[i]);
  return bytes;
}

/// "ADDRESS,LENGTH" at the start of `text`.
struct Range {
  std::uint64_t address, length;
};
std::optional<Range> take_range(std::string_view& text) {
  const auto address = take_number(text);
  if (!address || !take_prefix(text, ",")) return std::nullopt;
  const auto length = take_number(text);
  if (!length) return std::nullopt;
  return Range{*address, *length};
}

}  // namespace

std::string Session::take(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) {
    if (over_) break;
    if (const auto event = reader_.take(byte)) out += handle(*event);
  }
  return out;
}

std::string Session::handle(const PacketReader::Event& event) {
  using Kind = PacketReader::Event::Kind;
  if (event.kind == Kind::interrupt) return running_ ? stopped(target_.interrupt()) : std::string();
  if (event.kind == Kind::foreign) {
    (void)leave(false);
    return "";
  }
  if (event.kind == Kind::damaged) return acknowledges_ ? "-" : "";
  const std::string acknowledgement = acknowledges_ ? "+" : "";
  // Nothing can be asked of a guest that runs, by the protocol's rules.
  if (running_) return acknowledgement;
  const Reply reply = answer(event.payload);
  return reply ? acknowledgement + framed(*reply) : acknowledgement;
}

std::string Session::stopped(Stop stop) {
  if (!running_) return "";
  running_ = false;
  stop_ = stop;
  general_ = stop.cpu;
  return framed(stop_reply());
}

std::string Session::stop_reply() const {
  const bool interrupted = stop_.why == Stop::Why::interrupted;
  return fmt::format("T{:02x}{}thread:{:x};", interrupted ? sigint : sigtrap,
                     stop_.why == Stop::Why::breakpoint ? "swbreak:;" : "", stop_.cpu + 1);
}

Session::Reply Session::answer(std::string_view packet) {
  if (packet.empty()) return unsupported;
  if (take_prefix(packet, "vCont?")) return "vCont;c;C;s;S";
  if (take_prefix(packet, "vCont;")) return resume_some(packet);
  if (take_prefix(packet, "vKill")) return leave(true);
  if (packet == "QStartNoAckMode") {
    acknowledges_ = false;
    return ok;
  }
  const char command = packet.front();
  packet.remove_prefix(1);
  switch (command) {
    case '?': return stop_reply();
    case 'q': return query(packet);
    case 'H': return select_thread(packet);
    case 'T': return is_alive(packet);
    case 'c': return resume_all(Motion::run, packet);
    case 's': return resume_all(Motion::step, packet);
    case 'D': return leave(false);
    case 'k': (void)leave(true); return std::nullopt;
    default: return answer_data(command, packet);
  }
}

Session::Reply Session::answer_data(char command, std::string_view rest) {
  switch (command) {
    case 'g': return read_registers();
    case 'G': return write_registers(rest);
    case 'p': return read_register(rest);
    case 'P': return write_register(rest);
    case 'm': return read_memory(rest);
    case 'M': return write_memory(rest);
    case 'Z': return breakpoint(rest, true);
    case 'z': return breakpoint(rest, false);
    default: return unsupported;
  }
}

std::string Session::query(std::string_view rest) {
  if (rest.starts_with("Supported"))
    return fmt::format("PacketSize={:x};qXfer:features:read+;swbreak+;vContSupported+;QStartNoAckMode+",
                       PacketReader::longest);
  if (take_prefix(rest, "Xfer:features:read:target.xml:")) return query_features(rest);
  if (rest == "fThreadInfo") return list_threads();
  if (rest == "sThreadInfo") return "l";
  if (take_prefix(rest, "ThreadExtraInfo,")) return describe_thread(rest);
  if (rest == "C") return fmt::format("QC{:x}", general_ + 1);
  if (rest.starts_with("Attached")) return "1";
  if (rest.starts_with("Symbol:")) return ok;
  return unsupported;
}

std::string Session::query_features(std::string_view rest) const {
  const auto range = take_range(rest);
  if (!range || !rest.empty()) return malformed;
  const std::string& text = target_description();
  if (range->address >= text.size()) return "l";
  const std::size_t length = std::min<std::size_t>(range->length, most_memory);
  const std::string part = text.substr(range->address, length);
  return (range->address + part.size() < text.size() ? "m" : "l") + part;
}

/// Always lists vCPU 0: GDB needs a thread.
std::string Session::list_threads() {
  std::string list = "m1";
  for (std::uint32_t cpu = 1; cpu < target_.cpus(); ++cpu)
    if (target_.is_up(cpu)) list += fmt::format(",{:x}", cpu + 1);
  return list;
}

/// A thread's number at the start of `text`. 0 and -1, any and all, mean the one that is looked at.
std::optional<std::uint32_t> Session::cpu_of(std::string_view& text) const {
  if (take_prefix(text, "-1")) return general_;
  const auto number = take_number(text);
  if (!number || *number > target_.cpus()) return std::nullopt;
  return *number == 0 ? general_ : static_cast<std::uint32_t>(*number - 1);
}

std::string Session::describe_thread(std::string_view rest) {
  const auto cpu = cpu_of(rest);
  return cpu ? hex_of(target_.describe(*cpu)) : no_such_thread;
}

/// Hg: whose registers and memory are meant. Hc is for packets that vCont replaces.
std::string Session::select_thread(std::string_view rest) {
  const bool general = rest.starts_with('g');
  if (!general && !rest.starts_with('c')) return malformed;
  rest.remove_prefix(1);
  const auto cpu = cpu_of(rest);
  if (!cpu) return no_such_thread;
  if (general) general_ = *cpu;
  return ok;
}

std::string Session::is_alive(std::string_view rest) {
  const auto cpu = cpu_of(rest);
  return cpu && (*cpu == 0 || target_.is_up(*cpu)) ? ok : no_such_thread;
}

std::string Session::read_registers() { return hex_of(pack(target_.registers(general_))); }

std::string Session::write_registers(std::string_view rest) {
  const auto bytes = bytes_of(rest);
  CpuRegisters registers = target_.registers(general_);
  if (!bytes || !unpack(registers, *bytes)) return malformed;
  target_.set_registers(general_, registers);
  return ok;
}

std::string Session::read_register(std::string_view rest) {
  const auto number = take_number(rest);
  const auto slice = number ? slice_of(*number) : std::nullopt;
  if (!slice) return malformed;
  return hex_of(pack(target_.registers(general_)).substr(slice->offset, slice->size));
}

std::string Session::write_register(std::string_view rest) {
  const auto number = take_number(rest);
  if (!number || !take_prefix(rest, "=")) return malformed;
  const auto slice = slice_of(*number);
  if (!slice) return malformed;
  const auto bytes = bytes_of(rest);
  if (!bytes || bytes->size() != slice->size) return malformed;
  CpuRegisters registers = target_.registers(general_);
  std::string packed = pack(registers);
  packed.replace(slice->offset, slice->size, *bytes);
  if (!unpack(registers, packed)) return malformed;
  target_.set_registers(general_, registers);
  return ok;
}

std::string Session::read_memory(std::string_view rest) {
  const auto range = take_range(rest);
  if (!range || !rest.empty()) return malformed;
  std::vector<std::byte> bytes(std::min<std::uint64_t>(range->length, most_memory));
  const std::size_t read = target_.read(general_, range->address, bytes);
  if (read == 0 && !bytes.empty()) return bad_memory;
  bytes.resize(read);
  std::string storage;
  return hex_of(as_text(bytes, storage));
}

std::string Session::write_memory(std::string_view rest) {
  const auto range = take_range(rest);
  if (!range || !take_prefix(rest, ":")) return malformed;
  const auto bytes = bytes_of(rest);
  if (!bytes || bytes->size() != range->length) return malformed;
  return target_.write(general_, range->address, as_bytes(*bytes)) ? ok : bad_memory;
}

/// Z0 and z0, software breakpoints; the other kinds are not there, since debug registers do not work on every
/// host.
std::string Session::breakpoint(std::string_view rest, bool insert) {
  if (!rest.starts_with('0')) return unsupported;
  rest.remove_prefix(1);
  if (!take_prefix(rest, ",")) return malformed;
  const auto range = take_range(rest);
  if (!range) return malformed;
  const bool done = insert ? target_.insert_breakpoint(general_, range->address)
                           : target_.remove_breakpoint(general_, range->address);
  return done || !insert ? ok : bad_memory;
}

/// vCont's actions, "c:2;s:1;c": the first that fits a thread is its own; without a thread it fits all. Those
/// that none fits stay.
Session::Reply Session::resume_some(std::string_view actions) {
  std::vector<Motion> motions(target_.cpus(), Motion::stay);
  std::vector<bool> decided(target_.cpus());
  const auto decide = [&](std::uint32_t cpu, Motion motion) {
    if (!decided[cpu]) motions[cpu] = motion;
    decided[cpu] = true;
  };
  while (!actions.empty()) {
    std::string_view action = actions.substr(0, actions.find(';'));
    actions.remove_prefix(std::min(action.size() + 1, actions.size()));
    if (action.empty() || std::string_view("cCsS").find(action[0]) == std::string_view::npos)
      return malformed;
    const Motion motion = action[0] == 'c' || action[0] == 'C' ? Motion::run : Motion::step;
    const std::size_t colon = action.find(':');
    std::string_view thread = colon == std::string_view::npos ? "-1" : action.substr(colon + 1);
    if (thread == "-1") {
      for (std::uint32_t cpu = 0; cpu < target_.cpus(); ++cpu) decide(cpu, motion);
      continue;
    }
    const auto cpu = cpu_of(thread);
    if (!cpu) return no_such_thread;
    decide(*cpu, motion);
  }
  running_ = true;
  target_.resume(motions);
  return std::nullopt;
}

Session::Reply Session::resume_all(Motion motion, std::string_view rest) {
  if (!rest.empty()) return unsupported;  // "at another address": set RIP instead
  std::vector<Motion> motions(target_.cpus(), Motion::run);
  motions[general_] = motion;
  running_ = true;
  target_.resume(motions);
  return std::nullopt;
}

std::string Session::leave(bool kill) {
  over_ = true;
  kill ? target_.kill() : target_.let_go();
  return ok;
}

}  // namespace pinfold::cli::gdb
