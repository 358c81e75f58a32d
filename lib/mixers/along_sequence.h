#pragma once

#include <ATen/ops/cat.h>

#include <string>

#include "mixers/sequence_layout.h"
#include "ops/pad.h"

namespace lra {

/// Applies `map` along the tokens of every sequence: x (T, width) packed → (T, width). `map` takes rows (R, n) and
/// returns rows of the same shape. A row is one feature of one sequence, and zero beyond the sequence's end.
/// "per_sequence" makes one call for each sequence. "padded" and "auto" make one call for all: then the matrices of the
/// map are read once, and their gradients are computed once.
template <class Map>
at::Tensor map_along_sequence(const at::Tensor& x, const SequenceLayout& layout, const std::string& mixer_layout,
                              Map map) {
  if (layout.batch() == 1 || mixer_layout == "per_sequence") {
    std::vector<at::Tensor> parts;
    for (const auto& sequence : x.split_with_sizes(layout.lengths())) parts.push_back(map(sequence.t()).t());
    return at::cat(parts);
  }
  const at::Tensor places = x.is_cpu() ? at::Tensor() : layout.places(x.device());
  // Each feature as a head of width 1: one copy pads and transposes.
  const at::Tensor rows = ops::pad_sequences(x, layout.lengths(), x.size(1), places);
  return ops::pack_sequences(map(rows.view({-1, rows.size(2)})).view(rows.sizes()), layout.lengths(), places);
}

}  // namespace lra
