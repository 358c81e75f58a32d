#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "core/json_file.h"
#include "data/dataset.h"

namespace lra {

/// What simple predictors score on `test`, as fractions of 1: {"chance": 1 / classes, "majority": always the most
/// frequent class of `train`, "bag_of_tokens": multinomial logistic regression on how often each token id occurs (of
/// pairs a, b: in a, in b and the absolute difference)}. The regression is fitted on the first 20,000 examples of
/// `train` (five passes of Adam, the same numbers at every call).
Json reference_levels(const Dataset& train, const Dataset& test, std::int64_t num_classes, std::int64_t vocab_size);

/// compute(), or what an earlier call with the same `key` left in folder/reference_levels.json.
Json remembered_levels(const std::filesystem::path& folder, const Json& key, const std::function<Json()>& compute);

/// Facts about a split: {"classes": examples of each, "length": {"mean", "deviation", "min", "10%" .. "90%", "max"},
/// "length_histogram": {"bin", "counts"}, "truncated": share of sequences longer than seq_len, "token_ids": ids that
/// occur}. Lengths are those of single sequences, before they are cut.
Json split_statistics(const Dataset& whole, std::int64_t num_classes, std::int64_t seq_len);

}  // namespace lra
