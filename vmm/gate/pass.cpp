#include "vmm/gate/pass.hpp"

#include <cstdlib>
#include <cstring>

namespace pinfold::vmm {

// A step is at most MOV RAX, imm64 (10 bytes) and a store (11); the end takes 12 more.
static_assert(PassCode::max_steps * 21 + 12 <= page_size);

void PassCode::emit(std::initializer_list<unsigned> bytes) {
  for (const unsigned b : bytes) bytes_[used_++] = static_cast<std::byte>(b);
}

void PassCode::emit_quad(std::uint64_t value) {
  std::memcpy(bytes_.data() + used_, &value, sizeof value);
  used_ += sizeof value;
}

void PassCode::load_rax(std::uint64_t value) {
  if (rax_known_ && rax_ == value) return;
  emit({0x48, 0xb8});  // mov $imm64, %rax
  emit_quad(value);
  rax_ = value;
  rax_known_ = true;
}

void PassCode::store(std::uint64_t address, std::uint64_t value) {
  if (steps_++ >= max_steps) std::abort();
  load_rax(value);
  emit({0x48, 0xa3});  // movabs %rax, (imm64)
  emit_quad(address);
}

void PassCode::store_word(std::uint64_t address, std::uint16_t value) {
  if (steps_++ >= max_steps) std::abort();
  load_rax(value);
  emit({0x66, 0xa3});  // movabs %ax, (imm64)
  emit_quad(address);
}

void PassCode::reload_cr3(std::uint64_t cr3) {
  if (steps_++ >= max_steps) std::abort();
  load_rax(cr3);
  emit({0x0f, 0x22, 0xd8});  // mov %rax, %cr3
}

std::span<const std::byte> PassCode::finish(std::uint64_t guest_rax) {
  load_rax(guest_rax);
  emit({0x48, 0xcf});  // iretq
  return std::span(bytes_.data(), used_);
}

}  // namespace pinfold::vmm
