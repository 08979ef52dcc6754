#include "cli/run/quirks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "loader/domain_builder.hpp"
#include "loader/linux_version.hpp"

namespace pinfold::cli {
namespace {

/// The processor's family (AMD APM vol. 3, CPUID Fn0000_0001_EAX; Intel SDM vol. 2, CPUID leaf 01H).
unsigned family_of(const vmm::CpuidSource& processor) {
  const std::uint32_t signature = processor(1, 0).eax;
  const unsigned base = signature >> 8 & 0xf, extended = signature >> 20 & 0xff;
  return base == 0xf ? base + extended : base;
}

/// AMD's and Hygon's processors from Zen on: what Linux calls X86_FEATURE_ZEN (arch/x86/kernel/cpu/amd.c,
/// hygon.c).
bool is_zen(const vmm::CpuidSource& processor) {
  constexpr std::uint32_t amd = 0x68747541, hygon = 0x6f677948;  // EBX: "Auth", "Hygo"
  const std::uint32_t maker = processor(0, 0).ebx;
  return (maker == amd || maker == hygon) && family_of(processor) >= 0x17;
}

struct Rule {
  Quirk quirk;
  loader::LinuxVersion since;
  bool (*host)(const vmm::CpuidSource& processor);
};

constexpr Rule rules[] = {
    // print_s5_reset_status_mmio() maps the chipset's register at 0xfed803c0 (Linux 6.16,
    // arch/x86/kernel/cpu/amd.c).
    // A guest has no right to that frame, on Xen neither, and Linux does not check that it got the mapping.
    {{"initcall_blacklist=print_s5_reset_status_mmio",
      "Linux from 6.16 on reads a register of the chipset when it boots on this processor, and would die of "
      "it"},
     {6, 16},
     is_zen},
};

bool has_word(std::string_view text, std::string_view word) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (text.substr(0, end) == word) return true;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return false;
}

}  // namespace

std::vector<Quirk> quirks_of(const loader::KernelImage& kernel, const vmm::CpuidSource& processor) {
  std::vector<Quirk> found;
  std::optional<std::optional<loader::LinuxVersion>> version;  // looked up once, if anybody asks
  for (const Rule& rule : rules) {
    if (!rule.host(processor)) continue;
    if (!version) version = loader::linux_version_of(kernel);
    if (*version && **version >= rule.since) found.push_back(rule.quirk);
  }
  return found;
}

QuirkedCommandLine with_quirks(std::string command_line, const std::vector<Quirk>& quirks) {
  QuirkedCommandLine made{std::move(command_line), {}};
  for (const Quirk& quirk : quirks) {
    if (has_word(made.text, quirk.word)) continue;
    const std::string added = made.text.empty() ? quirk.word : fmt::format("{} {}", made.text, quirk.word);
    if (added.size() > loader::max_command_line) {
      made.notices.push_back(fmt::format("no room on the command line for {}: {}", quirk.word, quirk.reason));
      continue;
    }
    made.text = added;
    made.notices.push_back(
        fmt::format("command line: {} added: {} (--no-quirks: leave it out)", quirk.word, quirk.reason));
  }
  return made;
}

}  // namespace pinfold::cli
