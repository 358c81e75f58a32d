#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/config_reader.h"
#include "core/fields.h"
#include "core/json_file.h"

namespace lra {

/// Folder of the data sets: LRA_DATA, else "data".
std::string default_data_dir();

/// What is classified. Defaults come from configs/tasks/<task>.json and the profile.
struct TaskConfig {
  std::string task;
  std::string data_dir = default_data_dir();  ///< folder that holds <task>/...
  std::int64_t seq_len = 2000;   ///< longest sequence, without CLS; longer ones are cut to their first seq_len tokens
  std::int64_t vocab_size = 17;  ///< ids 0 .. vocab_size-1
  std::int64_t num_classes = 10;
  std::int64_t limit = 0;  ///< use only the first `limit` examples of each split (0: all); stamped into the record
  Json task_options = Json::object();  ///< the task's own options, fully resolved

  void describe(FieldVisitor& fields);
};

/// The encoder, its token mixer, its pooling and its head.
struct ModelConfig {
  std::int64_t num_layers = 4;
  std::int64_t d_model = 512;
  std::int64_t d_qkv = 0;    ///< width of queries, keys and values together; 0: d_model
  std::int64_t d_ff = 1024;  ///< feed-forward width, also the head's hidden width
  std::int64_t num_heads = 8;
  double dropout = 0.1;
  double attention_dropout = 0.1;   ///< only in mixers that have weights; in the others 0, and the record says so
  std::string pooling = "cls";      ///< cls | first (token) | mean | mean_padded (sum / seq_len) | sum
  std::string pixels = "discrete";  ///< of pictures: discrete: a row of the token table for each value; continuous:
                                    ///< Linear((value / 255 - mean) / std)
  std::string black_pixels =
      "tokens";  ///< padding: no query sees them; official: so in the mixers for which LRA's code uses its padding mask
  double pixel_mean = 0.0;  ///< of continuous pixels
  double pixel_std = 1.0;
  std::string positions = "sinusoid";  ///< sinusoid | learned
  std::string gelu = "tanh";           ///< tanh | exact
  std::string init = "lra";            ///< lra (Xavier, biases N(0,1e-6), head LeCun) | torch (PyTorch's defaults)
  double embedding_std = 1.0;          ///< token table N(0, std)
  double position_std = 0.02;          ///< learned position table N(0, std)
  double layer_norm_eps = 1e-6;
  bool attention_bias = false;  ///< biases in the mixer's projections
  std::string pair_head =
      "none";  ///< none: one sequence; concat [a, b] | nli [a, b, a*b, a-b]: two sequences (Retrieval)
  std::int64_t pair_hidden_layers = 2;  ///< of the pair head: d_ff, then d_ff / 2; or d_ff alone
  std::string kernels = "fused";  ///< fused: kernels of our own between the matrix products where there are some (CPU)
                                  ///< | reference: LibTorch's operators
  bool checkpoint_layers =
      false;  ///< compute each encoder block again in the backward pass instead of keeping what it makes
  std::string mixer_layout = "auto";    ///< per_sequence: each sequence alone; padded: one rectangle with a mask; auto
  std::string mixer;                    ///< registered name
  Json mixer_options = Json::object();  ///< the mixer's own options, fully resolved

  void describe(FieldVisitor& fields);
  std::int64_t qkv_width() const { return d_qkv == 0 ? d_model : d_qkv; }
};

/// Optimisation, evaluation, selection and limits.
struct TrainConfig {
  std::int64_t seed = 0;
  std::int64_t train_steps = 5000;
  std::int64_t batch_size = 32;
  std::int64_t micro_batch_size = 0;  ///< 0: batch_size; smaller: gradients are accumulated
  std::int64_t eval_batch_size = 0;   ///< 0: batch_size
  double learning_rate = 0.05;        ///< base of the schedule
  std::string schedule = "rsqrt";     ///< rsqrt | cosine | one_cycle | constant
  std::int64_t warmup_steps = 1000;
  std::int64_t steps_per_cycle = 0;  ///< cosine: 0 = train_steps
  bool cycle_momentum = false;       ///< one_cycle: also cycle beta1 between 0.85 and 0.95
  double beta1 = 0.9;
  double beta2 = 0.98;
  double eps = 1e-9;
  double weight_decay = 0.1;          ///< decoupled, on every parameter
  double clip_norm = 0.0;             ///< global norm of the gradient; 0: no clipping
  std::string precision = "float32";  ///< float32 | bf16 (autocast)
  std::int64_t eval_every = 50;       ///< steps between evaluations on `valid`
  std::int64_t checkpoint_every = 500;
  std::string selection = "last";  ///< which weights are tested: last | best_valid
  std::string device = "auto";     ///< auto | cpu | cuda | cuda:N
  std::int64_t threads = 0;        ///< 0: chosen by the size of a step (train/threads.h)
  double memory_limit_gb =
      0.0;  ///< of tensors, 10^9 bytes; 0: nine tenths of what the process may use. Above it a run ends with status oom
  double time_limit_minutes = 0.0;  ///< 0: none. Above it a run ends with status timeout

  void describe(FieldVisitor& fields);
};

/// How speed and memory are measured.
struct MeasureConfig {
  std::int64_t measure_warmup_steps = 5;
  std::int64_t measure_steps = 20;
  std::int64_t profile_steps =
      0;  ///< bench: after the timed steps so many whose operators are timed one by one, into profile.json

  void describe(FieldVisitor& fields);
};

/// One run, fully resolved.
struct RunConfig {
  std::string kind = "train";  ///< train: train, select, test | bench: time full-length random batches only
  std::string profile;
  std::string suite;         ///< name of the suite that the run belongs to, or empty
  std::string variant;       ///< the mixer with these options; the mixer's name unless a suite gives another
  std::string display_name;  ///< name in tables and charts
  TaskConfig task;
  ModelConfig model;
  TrainConfig train;
  MeasureConfig measure;

  /// All keys, flat; itself a valid --config.
  Json to_json() const;
};

/// Keys that cannot change a run's weights and scores: a run may go on with other values of them.
const std::set<std::string>& keys_without_effect();

}  // namespace lra
