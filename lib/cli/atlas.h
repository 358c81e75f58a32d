#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "cli/suite.h"
#include "core/json_file.h"
#include "mixers/mixer.h"

namespace lra {

/// `lra-run atlas [--mixer X,...] [--n 64] [--seed 0] [--input FILE] [--out DIR] [mixer_options.key=value ...]`.
struct AtlasArguments {
  std::vector<std::string> mixers;  ///< empty: all
  std::int64_t n = 64;              ///< tokens
  std::int64_t seed = 0;            ///< of weights, random patterns and input
  std::string input;                ///< JSON: n rows of numbers; empty: normal numbers
  std::string out = "runs/atlas";
  std::vector<std::string> overrides;
};

/// Who mixes how much of whom in one layer.
struct MixingMatrix {
  std::string kind;                 ///< "weights" | "jacobian norm"
  std::vector<std::string> labels;  ///< one for each matrix
  at::Tensor matrices;  ///< (labels, n, n) float64: row = the token that is made, column = the token that is read
};

/// A mixer alone, float64, in evaluation mode, d_model = d_qkv; weights from `spec.seed`, except that what makes values
/// and outputs is the identity, so that an output is the sum of values by their weights. Seeds LibTorch's default
/// generator.
std::shared_ptr<Mixer> make_atlas_mixer(const std::string& name, const MixerSpec& spec, const Json& options);

/// The matrices of a mixer of make_atlas_mixer on x (n, d_model). Attention: one for each head, "weights" where every
/// value is only multiplied by a number, else the Frobenius norm of each d × d block of the derivative of outputs by
/// values, divided by √d. Other mixers: that norm over all features, and the mean of the block's diagonal (feature by
/// feature).
MixingMatrix mixing_matrix(Mixer& mixer, const MixerSpec& spec, const at::Tensor& x);

/// How many layers information needs, each with weights, random patterns and input of its own. The residual connection
/// keeps a token's own.
struct Reach {
  std::int64_t layers = 0;  ///< tried
  std::int64_t all = 0;     ///< until every token has seen every other; 0: never
  std::int64_t cls = 0;     ///< until place 0 has seen every other; 0: never
};
Reach reach(const std::string& name, MixerSpec spec, const Json& options, std::int64_t n);

/// One entry of atlas.json: matrices and reach with the options under "atlas" in configs/mixers/<name>.json (chosen for
/// 64 tokens) and the overrides; with the default options, FLOPs at 16 to 16384 tokens (4096 where parameters grow with
/// n²) and the length from which on they are below those of `softmax`. x (n, 64). `variant`: one of the config's
/// "atlas_variants" ({variant, display_name, options}), which has no costs of its own.
Json atlas_entry(const std::string& name, std::int64_t n, std::int64_t seed, const at::Tensor& x, const Json& overrides,
                 const Json& variant = {});

/// Writes atlas.json, a picture of each mixer, and all of them side by side as a page and a picture. Throws Error.
ExitCode atlas_command(const AtlasArguments& arguments);

}  // namespace lra
