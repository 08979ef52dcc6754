// glibc's malloc opens two files when it is in the mood for it, long after its program has started.
#pragma once

namespace pinfold::sandbox {

/// From here on malloc and free open nothing.
void settle_allocator();

}  // namespace pinfold::sandbox
