#include "cli/gdb/registers.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <vector>

namespace pinfold::cli::gdb {
namespace {

using vmm::Gpr;

/// GDB's order of the general registers.
constexpr std::array gdb_order{Gpr::rax, Gpr::rbx, Gpr::rcx, Gpr::rdx, Gpr::rsi, Gpr::rdi,
                               Gpr::rbp, Gpr::rsp, Gpr::r8,  Gpr::r9,  Gpr::r10, Gpr::r11,
                               Gpr::r12, Gpr::r13, Gpr::r14, Gpr::r15};
constexpr std::array gdb_names{"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                               "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

struct Register {
  std::string name;
  std::size_t size;  ///< Bytes.
  std::string type;
};

struct Feature {
  const char* name;
  std::vector<Register> registers;
};

Feature core_feature() {
  Feature core{"org.gnu.gdb.i386.core", {}};
  for (const char* name : gdb_names) {
    const bool pointer = std::string_view(name) == "rbp" || std::string_view(name) == "rsp";
    core.registers.push_back({name, 8, pointer ? "data_ptr" : "int64"});
  }
  core.registers.push_back({"rip", 8, "code_ptr"});
  for (const char* name : {"eflags", "cs", "ss", "ds", "es", "fs", "gs"})
    core.registers.push_back({name, 4, "int32"});
  for (int i = 0; i < 8; ++i) core.registers.push_back({fmt::format("st{}", i), 10, "i387_ext"});
  for (const char* name : {"fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"})
    core.registers.push_back({name, 4, "int"});
  return core;
}

Feature sse_feature() {
  Feature sse{"org.gnu.gdb.i386.sse", {}};
  for (int i = 0; i < 16; ++i) sse.registers.push_back({fmt::format("xmm{}", i), 16, "uint128"});
  sse.registers.push_back({"mxcsr", 4, "int"});
  return sse;
}

const std::vector<Feature>& features() {
  static const std::vector<Feature> all{
      core_feature(),
      sse_feature(),
      {"org.gnu.gdb.i386.segments", {{"fs_base", 8, "int"}, {"gs_base", 8, "int"}}}};
  return all;
}

/// Copies values to and from the packed form, one after the other.
class Writer {
 public:
  template <class T>
  void value(const T& v, std::size_t size = sizeof(T)) {
    std::array<char, 16> bytes{};
    std::memcpy(bytes.data(), &v, std::min(size, sizeof(T)));
    out.append(bytes.data(), size);
  }
  void skip(std::size_t size) { out.append(size, '\0'); }
  std::string out;
};

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  template <class T>
  void value(T& v, std::size_t size = sizeof(T)) {
    T read{};
    std::memcpy(&read, in_.data(), std::min(size, sizeof(T)));
    v = read;
    in_.remove_prefix(size);
  }
  void skip(std::size_t size) { in_.remove_prefix(size); }

 private:
  std::string_view in_;
};

/// The x87 tag word of which the processor's image has only "empty or not", a bit each (Intel SDM vol. 1,
/// 10.5.1).
std::uint32_t full_tags(std::uint8_t abridged) {
  std::uint32_t tags = 0;
  for (unsigned i = 0; i < 8; ++i)
    if ((abridged >> i & 1) == 0) tags |= 3U << (2 * i);
  return tags;
}
std::uint8_t abridged_tags(std::uint32_t tags) {
  unsigned abridged = 0;
  for (unsigned i = 0; i < 8; ++i)
    if ((tags >> (2 * i) & 3) != 3) abridged |= 1U << i;
  return static_cast<std::uint8_t>(abridged);
}

constexpr std::size_t x87_bytes = 10;

}  // namespace

const std::string& target_description() {
  static const std::string text = [] {
    std::string xml =
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
        "<target version=\"1.0\">\n<architecture>i386:x86-64</architecture>\n";
    for (const Feature& feature : features()) {
      xml += fmt::format("<feature name=\"{}\">\n", feature.name);
      for (const Register& r : feature.registers)
        xml += fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\"/>\n", r.name, r.size * 8, r.type);
      xml += "</feature>\n";
    }
    return xml + "</target>\n";
  }();
  return text;
}

std::optional<Slice> slice_of(std::uint64_t number) {
  std::size_t offset = 0;
  for (const Feature& feature : features())
    for (const Register& r : feature.registers) {
      if (number-- == 0) return Slice{offset, r.size};
      offset += r.size;
    }
  return std::nullopt;
}

std::string pack(const CpuRegisters& registers) {
  Writer w;
  for (const Gpr gpr : gdb_order) w.value(registers.general[gpr]);
  w.value(registers.general.rip);
  w.value(registers.general.rflags, 4);
  for (const std::uint16_t s :
       {registers.cs, registers.ss, registers.ds, registers.es, registers.fs, registers.gs})
    w.value(std::uint32_t{s});
  const kvm_fpu& f = registers.fpu;
  for (const auto& st : f.fpr) w.out.append(std::string(std::begin(st), std::begin(st) + x87_bytes));
  w.value(std::uint32_t{f.fcw});
  w.value(std::uint32_t{f.fsw});
  w.value(full_tags(f.ftwx));
  w.skip(4);  // the selectors of the last instruction and operand: always 0 in 64-bit mode
  w.value(f.last_ip, 4);
  w.skip(4);
  w.value(f.last_dp, 4);
  w.value(std::uint32_t{f.last_opcode});
  for (const auto& xmm : f.xmm) w.out.append(std::string(std::begin(xmm), std::end(xmm)));
  w.value(f.mxcsr);
  w.value(registers.fs_base);
  w.value(registers.gs_base);
  return w.out;
}

bool unpack(CpuRegisters& registers, std::string_view packed) {
  if (packed.size() != pack(registers).size()) return false;
  Reader r(packed);
  for (const Gpr gpr : gdb_order) r.value(registers.general[gpr]);
  r.value(registers.general.rip);
  std::uint32_t flags = 0;
  r.value(flags);
  registers.general.rflags = flags;
  r.skip(6 * 4);
  kvm_fpu& f = registers.fpu;
  for (auto& st : f.fpr) {
    std::array<char, x87_bytes> bytes{};
    r.value(bytes);
    std::memcpy(&st[0], bytes.data(), bytes.size());
  }
  std::uint32_t tags = 0, opcode = 0, control = 0, status = 0;
  r.value(control);
  r.value(status);
  r.value(tags);
  f.fcw = static_cast<std::uint16_t>(control);
  f.fsw = static_cast<std::uint16_t>(status);
  f.ftwx = abridged_tags(tags);
  r.skip(4);
  r.value(f.last_ip, 4);
  r.skip(4);
  r.value(f.last_dp, 4);
  r.value(opcode);
  f.last_opcode = static_cast<std::uint16_t>(opcode);
  for (auto& xmm : f.xmm) {
    std::array<char, sizeof xmm> bytes{};
    r.value(bytes);
    std::memcpy(&xmm[0], bytes.data(), bytes.size());
  }
  r.value(f.mxcsr);
  r.value(registers.fs_base);
  r.value(registers.gs_base);
  return true;
}

}  // namespace pinfold::cli::gdb
