// Executes single instructions on the real processor: the oracle for emulated ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/registers.hpp"

namespace pinfold::vmm::test {

/// A few pages in the low 2 GiB: one for code, the rest for data that the instructions work on. The GS base
/// is pointed at `gs_base()` while it lives; user programs on x86-64 Linux do not use GS.
class NativeProcessor {
 public:
  NativeProcessor();
  ~NativeProcessor();
  NativeProcessor(const NativeProcessor&) = delete;
  NativeProcessor& operator=(const NativeProcessor&) = delete;

  [[nodiscard]] std::uint64_t code_address() const;
  [[nodiscard]] std::span<std::uint64_t> data() {
    return {reinterpret_cast<std::uint64_t*>(pages_ + 4096), 1024};
  }
  [[nodiscard]] std::uint64_t data_address() const { return code_address() + 4096; }
  [[nodiscard]] std::uint64_t gs_base() const { return code_address() - 0x10000; }

  /// Runs the instruction with all of `regs` (RIP becomes code_address()); the registers afterwards, RIP
  /// excepted.
  [[nodiscard]] Registers run(std::span<const std::uint8_t> instruction, const Registers& regs);

 private:
  std::byte* pages_ = nullptr;
};

}  // namespace pinfold::vmm::test
