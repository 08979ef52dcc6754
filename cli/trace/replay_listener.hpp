// What a validator that lives a log again does, compared with what was recorded; and what the log says of its
// host.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "pvmmu/validator.hpp"
#include "trace/format.hpp"

namespace pinfold::trace {

/// Hears the new validator.
class ReplayListener final : public pvmmu::TraceSink {
 public:
  /// What happened within an operation, as it was recorded.
  struct Within {
    pvmmu::TraceEvent event;
    std::vector<std::uint64_t> contents;
  };
  /// Is the domain there? The frames of one that has ended may be its neighbours' for a while, and then
  /// nobody's: the log does not say when.
  using Lives = std::function<bool(DomId)>;

  ReplayListener(const LogHeader& header, Lives lives) : header_(header), lives_(std::move(lives)) {}
  void started(const pvmmu::ValidatorParts&) override {}
  void operation_begins() override {}
  void event(const pvmmu::TraceEvent& event) override;
  void vcpu_entered(VcpuId, GuestVaddr, std::uint64_t) override {}

  /// What comes next is to be this.
  void expect(const LogEvent& event);
  /// The difference, once the operation is over.
  [[nodiscard]] std::optional<std::string> result();
  /// What comes next within the operation; null: nothing.
  [[nodiscard]] const Within* next_within() const { return at_ < within.size() ? &within[at_] : nullptr; }
  /// Did the host refuse to change the access to a frame of another domain?
  [[nodiscard]] bool host_lent() const;
  void differs(std::string text);

  std::vector<Within> within;

 private:
  [[nodiscard]] bool same(const std::optional<pvmmu::Refusal>& a,
                          const std::optional<pvmmu::Refusal>& b) const;
  [[nodiscard]] const char* difference(const pvmmu::TraceEvent& recorded,
                                       const pvmmu::TraceEvent& found) const;

  const LogHeader& header_;
  Lives lives_;
  const LogEvent* expected_ = nullptr;
  std::size_t at_ = 0;
  bool told_ = false;
  std::optional<std::string> difference_;
};

/// What was in a frame when it became read-only, and what the host refused, as recorded.
class ReplayView final : public pvmmu::FrameView {
 public:
  ReplayView(ReplayListener& listener, pvmmu::Pages machine) : listener_(listener), machine_(machine) {}
  bool protect(Mfn mfn) override;
  void unprotect(Mfn) override {}
  void grant(Mfn, std::uint64_t) override {}
  void revoke(Mfn) override {}
  [[nodiscard]] bool revoked(Mfn mfn) const override;
  [[nodiscard]] bool lend(Mfn, pvmmu::Loan) override { return listener_.host_lent(); }

 private:
  ReplayListener& listener_;
  pvmmu::Pages machine_;
};

}  // namespace pinfold::trace
