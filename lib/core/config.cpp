#include "core/config.h"

#include <cstdlib>

namespace lra {

std::string default_data_dir() {
  const char* folder = std::getenv("LRA_DATA");
  return folder == nullptr || *folder == '\0' ? "data" : folder;
}

void TaskConfig::describe(FieldVisitor& fields) {
  fields.text("task", task, "name of the task");
  fields.text("data_dir", data_dir, "folder that holds <task>/...");
  fields.integer("seq_len", seq_len, positive,
                 "longest sequence in tokens, without CLS; longer ones keep their first seq_len tokens");
  fields.integer("vocab_size", vocab_size, positive, "number of token ids, padding included");
  fields.integer("num_classes", num_classes, {2, 1 << 20}, "number of classes");
  fields.integer("limit", limit, not_negative, "use only the first `limit` examples of each split; 0: all");
}

void ModelConfig::describe(FieldVisitor& fields) {
  fields.integer("num_layers", num_layers, positive, "encoder blocks");
  fields.integer("d_model", d_model, positive, "model width");
  fields.integer("d_qkv", d_qkv, not_negative, "width of queries, keys and values, all heads together; 0: d_model");
  fields.integer("d_ff", d_ff, positive, "feed-forward width and hidden width of the head");
  fields.integer("num_heads", num_heads, positive, "attention heads; must divide d_qkv");
  fields.number("dropout", dropout, {0.0, 0.99}, "dropout on embeddings, mixer outputs and feed-forward layers");
  fields.number("attention_dropout", attention_dropout, {0.0, 0.99},
                "dropout on attention weights, where a mixer materialises them");
  fields.choice("pooling", pooling, {"cls", "first", "mean", "mean_padded", "sum"},
                "first: the first token; mean: over real tokens; mean_padded: sum / seq_len");
  fields.choice("pixels", pixels, {"discrete", "continuous"},
                "pixels as ids of the token table, or as numbers through a linear layer");
  fields.choice("black_pixels", black_pixels, {"tokens", "padding", "official"},
                "padding: pixels of value 0 are hidden from every query; official: in the mixers that LRA's code masks "
                "(as keys only; its black queries read everything)");
  fields.number("pixel_mean", pixel_mean, {-1e6, 1e6}, "continuous pixels: (value / 255 - pixel_mean) / pixel_std");
  fields.number("pixel_std", pixel_std, {1e-6, 1e6}, "continuous pixels: (value / 255 - pixel_mean) / pixel_std");
  fields.choice("positions", positions, {"sinusoid", "learned"}, "position encoding");
  fields.choice("gelu", gelu, {"tanh", "exact"}, "form of the feed-forward activation");
  fields.choice("init", init, {"lra", "torch"},
                "lra: Xavier, biases N(0, 1e-6), LeCun head; torch: PyTorch's defaults");
  fields.number("embedding_std", embedding_std, not_negative_number, "initial deviation of the token table");
  fields.number("position_std", position_std, not_negative_number, "initial deviation of the learned position table");
  fields.number("layer_norm_eps", layer_norm_eps, {0.0, 1.0}, "epsilon of the layer norms");
  fields.boolean("attention_bias", attention_bias, "biases in the mixer's projections");
  fields.choice("pair_head", pair_head, {"none", "concat", "nli"},
                "head for two sequences: [a, b] or [a, b, a*b, a-b]");
  fields.integer("pair_hidden_layers", pair_hidden_layers, {1, 2},
                 "hidden layers of the pair head: d_ff, then d_ff / 2; or d_ff alone");
  fields.choice(
      "kernels", kernels, {"fused", "reference"},
      "fused: one pass over memory between matrix products, on the CPU; reference: LibTorch's operators one by one");
  fields.boolean("checkpoint_layers", checkpoint_layers,
                 "compute each encoder block again in the backward pass: less memory, more time");
  fields.choice("mixer_layout", mixer_layout, {"auto", "per_sequence", "padded"},
                "how a mixer sees a batch; both give the same numbers");
}

void TrainConfig::describe(FieldVisitor& fields) {
  fields.integer("seed", seed, not_negative,
                 "seeds initial weights, order of examples, dropout and the mixers' own draws");
  fields.integer("train_steps", train_steps, positive, "optimiser steps");
  fields.integer("batch_size", batch_size, positive, "examples per optimiser step");
  fields.integer("micro_batch_size", micro_batch_size, not_negative, "examples per forward pass; 0: batch_size");
  fields.integer("eval_batch_size", eval_batch_size, not_negative,
                 "examples per forward pass in evaluation; 0: batch_size");
  fields.number("learning_rate", learning_rate, not_negative_number, "base learning rate of the schedule");
  fields.choice("schedule", schedule, {"rsqrt", "cosine", "one_cycle", "constant"}, "learning rate over the steps");
  fields.integer("warmup_steps", warmup_steps, not_negative, "steps of linear warm-up");
  fields.integer("steps_per_cycle", steps_per_cycle, not_negative,
                 "cosine schedule: length of a cycle; 0: train_steps");
  fields.boolean("cycle_momentum", cycle_momentum, "one_cycle: let beta1 move against the learning rate, 0.95 to 0.85");
  fields.number("beta1", beta1, {0.0, 0.9999999}, "Adam's first decay");
  fields.number("beta2", beta2, {0.0, 0.9999999}, "Adam's second decay");
  fields.number("eps", eps, not_negative_number, "Adam's epsilon");
  fields.number("weight_decay", weight_decay, not_negative_number, "decoupled weight decay on all parameters");
  fields.number("clip_norm", clip_norm, not_negative_number, "largest global norm of the gradient; 0: no clipping");
  fields.choice("precision", precision, {"float32", "bf16"}, "bf16: autocast of matrix multiplications");
  fields.integer("eval_every", eval_every, positive, "steps between evaluations on the valid split");
  fields.integer("checkpoint_every", checkpoint_every, positive, "steps between checkpoints");
  fields.choice("selection", selection, {"last", "best_valid"}, "which weights are tested");
  fields.text("device", device, "auto, cpu, cuda or cuda:N");
  fields.integer(
      "threads", threads, {0, 4096},
      "CPU threads; 0: by the size of a step, one for small steps, at most the cores that this process may use");
  fields.number("memory_limit_gb", memory_limit_gb, not_negative_number,
                "GB (10^9 bytes) that tensors may take; above it the run ends with status oom; 0: nine tenths of what "
                "the process may use");
  fields.number("time_limit_minutes", time_limit_minutes, not_negative_number,
                "above it the run ends with status timeout; 0: no limit");
}

void MeasureConfig::describe(FieldVisitor& fields) {
  fields.integer("measure_warmup_steps", measure_warmup_steps, not_negative, "untimed steps");
  fields.integer("measure_steps", measure_steps, positive, "timed steps of a bench");
  fields.integer("profile_steps", profile_steps, not_negative,
                 "steps of a bench, after the timed ones, whose operators are timed one by one into profile.json");
}

const std::set<std::string>& keys_without_effect() {
  static const std::set<std::string> keys{"suite",
                                          "variant",
                                          "display_name",
                                          "data_dir",
                                          "checkpoint_every",
                                          "memory_limit_gb",
                                          "time_limit_minutes",
                                          "measure_warmup_steps",
                                          "measure_steps",
                                          "profile_steps"};
  return keys;
}

Json RunConfig::to_json() const {
  Json json = {{"kind", kind},
               {"task", task.task},
               {"mixer", model.mixer},
               {"variant", variant},
               {"display_name", valid_utf8(display_name)},
               {"profile", profile}};
  if (!suite.empty()) json["suite"] = suite;
  ConfigWriter writer(json);
  RunConfig copy = *this;
  copy.task.describe(writer);
  copy.model.describe(writer);
  copy.train.describe(writer);
  copy.measure.describe(writer);
  json["task_options"] = task.task_options;
  json["mixer_options"] = model.mixer_options;
  return json;
}

}  // namespace lra
