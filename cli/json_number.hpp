// Numbers in answers of a process that a guest or an image may have taken over.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

namespace pinfold::cli {

/// A number that is whole and not negative. Throws nlohmann's type_error for any other value: get<T>(), the
/// library's own way, converts what is there, and has no defined result for 1e300.
template <class Json>
[[nodiscard]] std::uint64_t whole_number(const Json& value) {
  if (value.is_number_integer() && !value.is_number_unsigned() && value.template get<std::int64_t>() >= 0)
    return value.template get<std::uint64_t>();
  return value.template get_ref<const typename Json::number_unsigned_t&>();
}

}  // namespace pinfold::cli
