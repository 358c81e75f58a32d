#include "data/reference_levels.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/sha256.h"
#include "data/random.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t fitted_examples = 20000, passes = 5, batch = 50;

/// How often each token id occurs in an example. Features are made anew whenever they are needed: kept, those of a
/// large split would show in the memory of the run that asks first.
class BagOfTokens {
 public:
  BagOfTokens(std::int64_t vocab_size, bool pairs)
      : vocab_(static_cast<std::size_t>(vocab_size)), features_(vocab_ * (pairs ? 3 : 1)) {}

  std::size_t width() const { return features_.size(); }

  /// The shares of the ids among the example's tokens, of a pair in either sequence and their difference. Valid until
  /// the next call.
  const std::vector<float>& count(const Example& example) {
    std::fill(features_.begin(), features_.end(), 0.0f);
    const std::size_t second = example.second > 0 ? static_cast<std::size_t>(example.second) : example.tokens.size();
    for (std::size_t i = 0; i < example.tokens.size(); ++i) {
      const bool first = i < second;
      const auto id = static_cast<std::size_t>(example.tokens[i]);
      if (id < vocab_)
        features_[first ? id : vocab_ + id] +=
            1.0f / static_cast<float>(first ? second : example.tokens.size() - second);
    }
    for (std::size_t id = 0; width() > vocab_ && id < vocab_; ++id)
      features_[2 * vocab_ + id] = std::abs(features_[id] - features_[vocab_ + id]);
    return features_;
  }

 private:
  std::size_t vocab_;
  std::vector<float> features_;
};

/// Multinomial logistic regression on standardised counts: `classes` rows of weights, the last column the bias.
class Regression {
 public:
  Regression(BagOfTokens bag, std::size_t classes)
      : bag_(std::move(bag)),
        width_(bag_.width()),
        classes_(classes),
        weights_(classes * (width_ + 1)),
        x_(width_),
        p_(classes) {}

  /// On the first `examples` of `data`.
  void fit(const Dataset& data, std::size_t examples) {
    standardise_by(data, examples);
    const std::size_t steps = passes * ((examples + batch - 1) / batch);
    std::vector<float> gradient(weights_.size()), first(weights_.size()), second(weights_.size());
    std::size_t step = 0;
    for (std::size_t pass = 0; pass < passes; ++pass) {
      const auto order = shuffled(examples, 0, pass);
      for (std::size_t begin = 0; begin < examples; begin += batch) {
        const std::size_t end = std::min(examples, begin + batch);
        std::fill(gradient.begin(), gradient.end(), 0.0f);
        for (std::size_t i = begin; i < end; ++i) {
          look_at(data.get(order[i]));
          p_[static_cast<std::size_t>(data.label(order[i]))] -= 1;
          for (std::size_t c = 0; c < classes_; ++c) {
            float* row = &gradient[c * (width_ + 1)];
            for (std::size_t j = 0; j < width_; ++j) row[j] += p_[c] * x_[j];
            row[width_] += p_[c];
          }
        }
        ++step;
        const float rate = 0.01f * (1 - static_cast<float>(step - 1) / static_cast<float>(steps));
        const float unbias1 = 1 - std::pow(0.9f, static_cast<float>(step)),
                    unbias2 = 1 - std::pow(0.999f, static_cast<float>(step));
        for (std::size_t k = 0; k < weights_.size(); ++k) {
          const float g = gradient[k] / static_cast<float>(end - begin) + 1e-4f * weights_[k];
          first[k] = 0.9f * first[k] + 0.1f * g;
          second[k] = 0.999f * second[k] + 0.001f * g * g;
          weights_[k] -= rate * (first[k] / unbias1) / (std::sqrt(second[k] / unbias2) + 1e-8f);
        }
      }
    }
  }

  std::size_t best(const Example& example) {
    look_at(example);
    return static_cast<std::size_t>(std::max_element(p_.begin(), p_.end()) - p_.begin());
  }

 private:
  void standardise_by(const Dataset& data, std::size_t examples) {
    std::vector<double> sum(width_), squares(width_);
    for (std::size_t i = 0; i < examples; ++i) {
      const auto& features = bag_.count(data.get(i));
      for (std::size_t j = 0; j < width_; ++j) {
        sum[j] += static_cast<double>(features[j]);
        squares[j] += static_cast<double>(features[j]) * static_cast<double>(features[j]);
      }
    }
    const auto count = static_cast<double>(examples);
    for (std::size_t j = 0; j < width_; ++j) {
      const double mean = sum[j] / count, variance = squares[j] / count - mean * mean;
      mean_.push_back(static_cast<float>(mean));
      scale_.push_back(variance > 1e-12 ? static_cast<float>(1 / std::sqrt(variance)) : 0.0f);
    }
  }

  /// Fills x_ and p_, the probabilities of the classes.
  void look_at(const Example& example) {
    const auto& features = bag_.count(example);
    for (std::size_t j = 0; j < width_; ++j) x_[j] = (features[j] - mean_[j]) * scale_[j];
    for (std::size_t c = 0; c < classes_; ++c) {
      const float* row = &weights_[c * (width_ + 1)];
      p_[c] = std::inner_product(x_.begin(), x_.end(), row, row[width_]);
    }
    const float largest = *std::max_element(p_.begin(), p_.end());
    float total = 0;
    for (float& p : p_) total += p = std::exp(p - largest);
    for (float& p : p_) p /= total;
  }

  BagOfTokens bag_;
  std::size_t width_, classes_;
  std::vector<float> weights_, mean_, scale_, x_, p_;
};

double bag_of_tokens(const Dataset& train, const Dataset& test, std::size_t classes, std::int64_t vocab_size) {
  Regression regression(BagOfTokens(vocab_size, train.get(0).second > 0), classes);
  regression.fit(train, std::min(train.size(), fitted_examples));
  std::size_t hits = 0;
  for (std::size_t i = 0; i < test.size(); ++i)
    hits += static_cast<std::size_t>(test.label(i)) == regression.best(test.get(i));
  return static_cast<double>(hits) / static_cast<double>(test.size());
}

}  // namespace

Json reference_levels(const Dataset& train, const Dataset& test, std::int64_t num_classes, std::int64_t vocab_size) {
  const auto classes = static_cast<std::size_t>(num_classes);
  std::vector<std::size_t> counts(classes), test_counts(classes);
  for (std::size_t i = 0; i < train.size(); ++i) ++counts.at(static_cast<std::size_t>(train.label(i)));
  for (std::size_t i = 0; i < test.size(); ++i) ++test_counts.at(static_cast<std::size_t>(test.label(i)));
  const auto majority = static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
  return {{"chance", 1 / static_cast<double>(classes)},
          {"majority", static_cast<double>(test_counts[majority]) / static_cast<double>(test.size())},
          {"bag_of_tokens", bag_of_tokens(train, test, classes, vocab_size)}};
}

/// So that a damaged memory is none.
static std::string checksum(const Json& key, const Json& levels) { return sha256(key.dump() + levels.dump()); }

Json remembered_levels(const fs::path& folder, const Json& key, const std::function<Json()>& compute) {
  const fs::path file = folder / "reference_levels.json";
  Json entries = Json::array();
  try {
    if (fs::exists(file)) entries = read_json(file);
    for (const Json& entry : entries) {
      if (entry.at("key") == key && entry.at("check") == checksum(key, entry.at("levels"))) return entry.at("levels");
    }
  } catch (const std::exception&) {  // a memory that cannot be read is none
    entries = Json::array();
  }
  Json levels = compute();
  if (!entries.is_array()) entries = Json::array();
  entries.push_back({{"key", key}, {"levels", levels}, {"check", checksum(key, levels)}});
  try {
    write_json(file, entries);
  } catch (const Error&) {  // nor is one that cannot be written: data may be read-only
  }
  return levels;
}

Json split_statistics(const Dataset& whole, std::int64_t num_classes, std::int64_t seq_len) {
  std::vector<std::size_t> classes(static_cast<std::size_t>(num_classes));
  std::vector<std::int64_t> lengths;
  std::vector<bool> ids;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const Example example = whole.get(i);
    ++classes.at(static_cast<std::size_t>(example.label));
    const auto size = static_cast<std::int64_t>(example.tokens.size());
    if (example.second > 0) lengths.push_back(example.second);
    lengths.push_back(size - example.second);
    for (const auto token : example.tokens) {
      const auto id = static_cast<std::size_t>(token);
      if (id >= ids.size()) ids.resize(id + 1);
      ids[id] = true;
    }
  }
  if (lengths.empty()) throw Error("a split has no examples");
  std::sort(lengths.begin(), lengths.end());
  const auto total = static_cast<double>(lengths.size());
  const double mean = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})) / total;
  double squares = 0;
  for (const auto length : lengths)
    squares += (static_cast<double>(length) - mean) * (static_cast<double>(length) - mean);
  Json length = {{"mean", mean}, {"deviation", std::sqrt(squares / total)}};
  for (const int percent : {0, 10, 25, 50, 75, 90, 100}) {
    length[fmt::format("{}%", percent)] = lengths[(lengths.size() - 1) * static_cast<std::size_t>(percent) / 100];
  }
  // Twenty bins of a round width.
  std::int64_t bin = 1;
  for (std::int64_t round = 1; bin * 20 <= lengths.back(); round *= 10) {
    for (const std::int64_t step : {1, 2, 5, 10}) {
      bin = step * round;
      if (bin * 20 > lengths.back()) break;
    }
  }
  std::vector<std::size_t> histogram(static_cast<std::size_t>(lengths.back() / bin) + 1);
  for (const auto l : lengths) ++histogram[static_cast<std::size_t>(l / bin)];
  const auto longer = std::count_if(lengths.begin(), lengths.end(), [&](std::int64_t l) { return l > seq_len; });
  return {{"classes", classes},
          {"length", length},
          {"length_histogram", {{"bin", bin}, {"counts", histogram}}},
          {"truncated", {{"seq_len", seq_len}, {"share", static_cast<double>(longer) / total}}},
          {"token_ids", std::count(ids.begin(), ids.end(), true)}};
}

}  // namespace lra
