#include "devices/console_io.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "devices/xen_abi.hpp"

namespace pinfold::devices {

void ConsoleIo::register_with(vmm::HypercallTable& table) {
  table.set(__HYPERVISOR_console_io, "console_io", [this](vmm::Hypercall& call) { return console_io(call); });
}

std::int64_t ConsoleIo::console_io(vmm::Hypercall& call) {
  if (!sink_) return to_rax(Errno::eperm);
  const auto count = static_cast<std::uint32_t>(call.args[1]);
  switch (static_cast<std::uint32_t>(call.args[0])) {
    case CONSOLEIO_write: return write(call, count);
    case CONSOLEIO_read:
      return count > std::uint32_t{std::numeric_limits<std::int32_t>::max()} ? to_rax(Errno::e2big) : 0;
    default: return to_rax(Errno::enosys);
  }
}

std::int64_t ConsoleIo::write(vmm::Hypercall& call, std::uint32_t count) {
  if (count > write_limit) return to_rax(Errno::e2big);
  std::array<std::byte, 512> chunk;
  for (std::uint32_t done = 0; done < count;) {
    const auto size = std::min<std::uint32_t>(count - done, chunk.size());
    const auto part = std::span(chunk).first(size);
    if (auto read = call.memory.read(call.pointer(2).plus(done), part); !read) return to_rax(read.error());
    const std::size_t taken = sink_(part);
    done += static_cast<std::uint32_t>(taken);
    if (taken == part.size()) continue;
    call.args[1] = count - done;
    call.args[2] += done;
    call.completion = vmm::Completion::restart;
    return 0;
  }
  return 0;
}

}  // namespace pinfold::devices
