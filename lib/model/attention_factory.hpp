// SPDX-License-Identifier: Apache-2.0
// Makes the layer of each attention kind. A new kind is added here.
#pragma once

#include <memory>

#include "model/attention_layer.hpp"
#include "model/transformer_shape.hpp"

namespace rondo {

/// One layer object serves all layers of its kind: it holds no weights.
std::unique_ptr<AttentionLayer> make_attention(LayerAttention kind, Execution& execution, const TransformerShape& shape,
                                               DType compute);

}  // namespace rondo
