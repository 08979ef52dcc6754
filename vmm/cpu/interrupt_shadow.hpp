// A vCPU that was stopped directly behind MOV SS or STI.
#pragma once

#include <utility>

namespace pinfold::vmm {

/// For one instruction behind MOV SS the processor takes no interrupt and holds debug exceptions back. If
/// that instruction leaves the guest for KVM (an EPT violation, say) and a signal waits there, KVM_RUN
/// returns in the middle: KVM keeps "blocking by MOV SS", and what is held back, in the VMCS. Both belong to
/// the instruction at RIP. If other registers are loaded, the next VM entry fails where a single step is held
/// back and RFLAGS.TF is now clear, or the reverse (Intel SDM vol. 3, 27.3.1.5). So KVM is told before that
/// the blocking is over. Then the debug exception is raised at the new RIP (vol. 3, 27.7.3), which must not
/// be the guest's handler of an event. So events wait until the instruction is done, as a processor's
/// interrupts do.
///
/// Concurrency: the vCPU's own thread.
class InterruptShadow {
 public:
  /// The number of stops in a row at which events wait. A vCPU that is entered gets on; this is for a KVM
  /// that reports the shadow of an instruction for ever.
  static constexpr unsigned most_stops = 100;

  /// The vCPU left the guest. It is in no shadow unless stop() follows.
  void leave() {
    if (!inside_) stops_ = 0;
    inside_ = false;
  }
  /// It was stopped inside of a shadow.
  void stop() {
    inside_ = true;
    ++stops_;
  }
  /// Is it to be entered once more before its guest gets an event?
  [[nodiscard]] bool holds_events_back() const { return inside_ && stops_ <= most_stops; }
  /// Other registers are about to be loaded, so the shadow is over. True: KVM has to be told.
  [[nodiscard]] bool end() { return std::exchange(inside_, false); }

 private:
  bool inside_ = false;
  unsigned stops_ = 0;
};

}  // namespace pinfold::vmm
