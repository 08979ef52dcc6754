// Flushes of several processors, and what waits for the last of them.
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

Epoch Validator::begin_flush(Held) {
  const Epoch epoch = epochs_.close();
  mirrors_.seal_retired(epoch);
  return epoch;
}

void Validator::flushed(Held, VcpuId vcpu, Epoch epoch) {
  epochs_.forgot(vcpu, epoch);
  mirrors_.reuse_retired(epochs_.forgotten_by_all());
}

void Validator::vcpu_stopped(Held, VcpuId vcpu) {
  epochs_.stopped(vcpu);
  mirrors_.reuse_retired(epochs_.forgotten_by_all());
}

}  // namespace pinfold::pvmmu
