// SPDX-License-Identifier: Apache-2.0
#include "model/key_value_cache.hpp"

#include <string>

namespace rondo {

void KeyValueCache::append(Device& device, Stream& stream, const KeyValue& fresh) {
  const std::int64_t first = num_tokens_, count = fresh.k.shape[0];
  set_key_range({0, first + count});
  device.copy(stream, k_.view().rows(first, count).data, fresh.k.data, fresh.k.size_bytes());
  device.copy(stream, v_.view().rows(first, count).data, fresh.v.data, fresh.v.size_bytes());
}

void KeyValueCache::set_key_range(const KeyInterval& positions) {
  if (positions.end > capacity_tokens()) {
    throw Error(ErrorKind::Internal, "the key/value cache holds " + std::to_string(capacity_tokens()) + " tokens");
  }
  num_tokens_ = positions.end;
}

}  // namespace rondo
