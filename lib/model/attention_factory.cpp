// SPDX-License-Identifier: Apache-2.0
#include "model/attention_factory.hpp"

#include "model/exact_attention.hpp"
#include "model/infini_attention.hpp"

namespace rondo {

std::unique_ptr<AttentionLayer> make_attention(LayerAttention kind, Execution& execution, const TransformerShape& shape,
                                               DType compute) {
  switch (kind) {
    case LayerAttention::Exact: return std::make_unique<ExactAttention>(execution, shape, compute);
    case LayerAttention::Infini: return std::make_unique<InfiniAttention>(execution, shape, compute);
  }
  ensure(false, "the kind of attention is in the list");
  return nullptr;
}

}  // namespace rondo
