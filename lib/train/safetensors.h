#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace lra {

/// Named tensors and a map of texts, in the file format `safetensors` (8 bytes of header length, a JSON header, the raw
/// values).
struct SafeTensors {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> metadata;
  bool checked = false;  ///< read from a file with a checksum, and it agrees

  /// The tensor `name`. Throws Error naming `file` if there is none, or if its shape or type differ from those of
  /// `expected`.
  const at::Tensor& at(const std::string& name, const at::Tensor& expected, const std::filesystem::path& file) const;
};

/// Writes atomically (see write_file_atomically); the same content gives the same bytes. Tensors may lie on any device
/// and are float32, float64, bfloat16, int64, uint8 or bool. Two more texts in the file's metadata, `sha256` and
/// `sha256_of`, hold a checksum of all of its bytes. Throws Error.
void write_safetensors(const std::filesystem::path& file, const SafeTensors& content);

/// Reads a file to the CPU. Throws Error naming the file for one that is truncated, whose header is not sound or whose
/// checksum does not agree; a file without a checksum is read. `check`, if given, is called before memory is taken: its
/// tensors have types and shapes but no values.
SafeTensors read_safetensors(const std::filesystem::path& file,
                             const std::function<void(const SafeTensors&)>& check = {});

/// Only the metadata; all of the file is checked all the same.
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& file);

}  // namespace lra
