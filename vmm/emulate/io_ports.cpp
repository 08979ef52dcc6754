#include "vmm/emulate/io_ports.hpp"

#include <array>
#include <utility>

namespace pinfold::vmm {
namespace {

constexpr std::uint32_t pit_channel2 = 0x42, system_control = 0x61, rtc_index = 0x70, rtc_data = 0x71;
constexpr std::uint8_t speaker_bits = 0x03, pit2_output = 0x20;

std::uint8_t bcd(int value) { return static_cast<std::uint8_t>(((value / 10) % 10) << 4 | value % 10); }

}  // namespace

bool bitmap_allows(GuestMemory& memory, GuestVaddr bitmap, std::uint32_t ports, std::uint16_t port,
                   unsigned size) {
  if (std::uint32_t{port} + size > ports) return false;
  // The bits of one access lie in at most two bytes. The second is read only if it has any of them.
  const std::uint32_t first = port / 8U, last = (port + size - 1) / 8U;
  std::array<std::byte, 2> bytes{};
  if (!memory.read(GuestVaddr(bitmap.raw() + first), std::span(bytes).first(last - first + 1))) return false;
  const unsigned bits = static_cast<unsigned>(bytes[0]) | static_cast<unsigned>(bytes[1]) << 8;
  const unsigned wanted = ((1U << size) - 1) << (port % 8U);
  return (bits & wanted) == 0;
}

IoPorts::IoPorts(std::function<std::time_t()> clock) : clock_(std::move(clock)) {}

std::uint32_t IoPorts::in(std::uint16_t port, unsigned size) {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < size; ++i) value |= std::uint32_t{in_byte(std::uint32_t{port} + i)} << (8 * i);
  return value;
}

void IoPorts::out(std::uint16_t port, unsigned size, std::uint32_t value) {
  for (unsigned i = 0; i < size; ++i)
    out_byte(std::uint32_t{port} + i, static_cast<std::uint8_t>(value >> (8 * i)));
}

std::uint8_t IoPorts::in_byte(std::uint32_t port) const {
  switch (port) {
    // Kernels calibrate their TSC against this timer. Its count must not seem to stay at all ones. A count of
    // 0 and a finished channel make the calibration fail at once, and the kernel asks Xen instead.
    case pit_channel2: return 0;
    case system_control: return static_cast<std::uint8_t>((system_control_ & speaker_bits) | pit2_output);
    case rtc_index: return rtc_index_;
    case rtc_data: return rtc_register(rtc_index_ & 0x7f);
    default: return 0xff;  // also at 0xcf8 to 0xcff: no PCI
  }
}

void IoPorts::out_byte(std::uint32_t port, std::uint8_t value) {
  if (port == rtc_index) rtc_index_ = value;
  if (port == system_control) system_control_ = value;
}

/// A register of the MC146818 clock, in BCD and 24-hour form. It has no alarm and no interrupts, and its
/// update flag is never set.
std::uint8_t IoPorts::rtc_register(std::uint8_t index) const {
  const std::time_t now = clock_();
  std::tm utc{};
  gmtime_r(&now, &utc);
  const int year = utc.tm_year + 1900;
  switch (index) {
    case 0x00: return bcd(utc.tm_sec);
    case 0x02: return bcd(utc.tm_min);
    case 0x04: return bcd(utc.tm_hour);
    case 0x06: return bcd(utc.tm_wday + 1);
    case 0x07: return bcd(utc.tm_mday);
    case 0x08: return bcd(utc.tm_mon + 1);
    case 0x09: return bcd(year % 100);
    case 0x0a: return 0x26;  // 32,768 Hz, no update in progress
    case 0x0b: return 0x02;  // 24 hours
    case 0x0d: return 0x80;  // the time is valid
    case 0x32: return bcd(year / 100);
    default: return 0;
  }
}

}  // namespace pinfold::vmm
