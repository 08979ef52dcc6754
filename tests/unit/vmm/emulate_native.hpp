// Executes single instructions on the real processor, for comparison with emulated ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/registers.hpp"

namespace pinfold::vmm::test {

/// A few pages in the low 2 GiB: one for code, the others for the data of instructions. While it exists, the
/// GS base is gs_base(); user programs on x86-64 Linux do not use GS.
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

  /// Executes the instruction with `regs`, but with code_address() as RIP. Returns the registers
  /// after it, without RIP.
  [[nodiscard]] Registers run(std::span<const std::uint8_t> instruction, const Registers& regs);

 private:
  std::byte* pages_ = nullptr;
};

}  // namespace pinfold::vmm::test
