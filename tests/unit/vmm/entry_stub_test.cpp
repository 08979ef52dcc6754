#include "vmm/gate/entry_stub.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace pinfold::vmm {
namespace {

std::vector<unsigned> bytes_of(EntryStub& code, std::uint64_t rax) {
  std::vector<unsigned> bytes;
  for (const std::byte b : code.finish(rax)) bytes.push_back(static_cast<unsigned>(b));
  return bytes;
}

TEST(EntryStub, a_flush_loads_cr3_then_the_guests_rax_and_returns) {
  EntryStub code;
  EXPECT_FALSE(code.drops_translations());
  code.reload_cr3(0x1234000);
  EXPECT_TRUE(code.drops_translations());
  EXPECT_FALSE(code.empty());
  EXPECT_EQ(bytes_of(code, 0x7),
            (std::vector<unsigned>{0x48, 0xb8, 0x00, 0x40, 0x23, 0x01, 0, 0, 0, 0,  // mov $0x1234000, %rax
                                   0x0f, 0x22, 0xd8,                                // mov %rax, %cr3
                                   0x48, 0xb8, 0x07, 0,    0,    0,    0, 0, 0, 0,  // mov $7, %rax
                                   0x48, 0xcf}));                                   // iretq
}

TEST(EntryStub, a_rewrite_stores_in_one_step_with_reading) {
  EntryStub code;
  code.rewrite(0x1000);
  code.rewrite_word(0x1008);
  EXPECT_FALSE(code.drops_translations());
  EXPECT_EQ(bytes_of(code, 0x1000),
            (std::vector<unsigned>{0x48, 0xb8, 0x00, 0x10, 0,    0, 0, 0, 0, 0,  // mov $0x1000, %rax
                                   0xf0, 0x48, 0x83, 0x88, 0,    0, 0, 0, 0,     // lock orq $0, 0(%rax)
                                   0x66, 0xf0, 0x83, 0x88, 0x08, 0, 0, 0, 0,     // lock orw $0, 8(%rax)
                                   0x48, 0xcf}));                                // iretq
}

}  // namespace
}  // namespace pinfold::vmm
