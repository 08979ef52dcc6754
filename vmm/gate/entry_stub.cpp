#include "vmm/gate/entry_stub.hpp"

#include <cstdlib>
#include <cstring>

namespace pinfold::vmm {

// A step is at most MOV RAX, imm64 (10 bytes) and an OR (9); the end takes 12 more.
static_assert(EntryStub::max_steps * 21 + 12 <= page_size);

void EntryStub::emit(std::initializer_list<unsigned> bytes) {
  for (const unsigned b : bytes) bytes_[used_++] = static_cast<std::byte>(b);
}

void EntryStub::emit_quad(std::uint64_t value) {
  std::memcpy(bytes_.data() + used_, &value, sizeof value);
  used_ += sizeof value;
}

void EntryStub::load_rax(std::uint64_t value) {
  if (rax_known_ && rax_ == value) return;
  emit({0x48, 0xb8});  // mov $imm64, %rax
  emit_quad(value);
  rax_ = value;
  rax_known_ = true;
}

void EntryStub::locked_or(std::initializer_list<unsigned> opcode, std::uint64_t address) {
  if (steps_++ >= max_steps) std::abort();
  const auto reaches = [](std::int64_t distance) { return distance == static_cast<std::int32_t>(distance); };
  if (!rax_known_ || !reaches(static_cast<std::int64_t>(address - rax_))) load_rax(address);
  const auto distance = static_cast<std::uint32_t>(address - rax_);
  emit(opcode);
  for (unsigned shift = 0; shift < 32; shift += 8) emit({distance >> shift & 0xff});
  emit({0});
}

void EntryStub::rewrite(std::uint64_t address) {
  locked_or({0xf0, 0x48, 0x83, 0x88}, address);  // lock orq $0, distance(%rax)
}

void EntryStub::rewrite_word(std::uint64_t address) {
  locked_or({0x66, 0xf0, 0x83, 0x88}, address);  // lock orw $0, distance(%rax)
}

void EntryStub::reload_cr3(std::uint64_t cr3) {
  if (steps_++ >= max_steps) std::abort();
  load_rax(cr3);
  emit({0x0f, 0x22, 0xd8});  // mov %rax, %cr3
  drops_translations_ = true;
}

std::span<const std::byte> EntryStub::finish(std::uint64_t guest_rax) {
  load_rax(guest_rax);
  emit({0x48, 0xcf});  // iretq
  return std::span(bytes_.data(), used_);
}

std::span<const std::byte> EntryStub::finish_with_out(std::uint8_t port) {
  emit({0xe6, port, 0x0f, 0x0b});  // out %al, $port; ud2
  return std::span(bytes_.data(), used_);
}

}  // namespace pinfold::vmm
