// The page of hypercall stubs that older kernels call through (HYPERCALL_PAGE, xen/elfnote.h).
#pragma once

#include <cstddef>
#include <span>

#include "pvmmu/types.hpp"

namespace pinfold::loader {

/// Fills a page with 128 stubs of 32 bytes. A caller calls stub n with the arguments of hypercall n in
/// registers, and finds RCX and R11 kept; stub 23 (iret) is jumped to and does not return.
void fill_hypercall_page(std::span<std::byte, page_size> page);

}  // namespace pinfold::loader
