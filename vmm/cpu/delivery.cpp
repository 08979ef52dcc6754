// Entering the guest kernel, and ending the domain where that can't be.
#include "vmm/domain.hpp"
#include "vmm/vcpu_info.hpp"

namespace pinfold::vmm {

void GuestCpu::crash_on(pvmmu::Held held, const TrapDelivery::Failure& failure) {
  if (failure) [[unlikely]]
    domain_.end(Ending::crash, *failure + "\n" + describe(held));
}

void GuestCpu::deliver(pvmmu::Held held, const GuestException& exception) {
  auto kernel = kernel_memory(held);
  crash_on(held, traps_.deliver({kernel, domain_.info_of(id_)}, exception));
}

void GuestCpu::deliver_event(pvmmu::Held held) {
  ++domain_.statistics().events;
  auto kernel = kernel_memory(held);
  crash_on(held, traps_.deliver_event({kernel, domain_.info_of(id_)}));
}

void GuestCpu::deliver_nmi(pvmmu::Held held) {
  auto kernel = kernel_memory(held);
  crash_on(held, traps_.deliver_nmi({kernel, domain_.info_of(id_)}));
}

void GuestCpu::deliver_syscall(pvmmu::Held held) {
  auto kernel = kernel_memory(held);
  crash_on(held, traps_.deliver_syscall({kernel, domain_.info_of(id_)}));
}

void GuestCpu::software_interrupt(pvmmu::Held held, std::uint8_t vector) {
  auto kernel = kernel_memory(held);
  crash_on(held, traps_.software_interrupt({kernel, domain_.info_of(id_)}, vector));
}

void GuestCpu::iret(pvmmu::Held held) {
  auto kernel = kernel_memory(held);
  crash_on(held, traps_.iret({kernel, domain_.info_of(id_)}));
}

}  // namespace pinfold::vmm
