#include "train/safetensors.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json_file.h"
#include "core/sha256.h"
#include "core/text.h"

namespace lra {
namespace {

struct DType {
  const char* name;
  at::ScalarType type;
};
constexpr std::array<DType, 6> dtypes{{{"F64", at::kDouble},
                                       {"I64", at::kLong},
                                       {"F32", at::kFloat},
                                       {"BF16", at::kBFloat16},
                                       {"U8", at::kByte},
                                       {"BOOL", at::kBool}}};
constexpr std::uint64_t longest_header = 100'000'000;  // the reference implementation's limit
constexpr std::size_t most_dimensions = 64;            // LibTorch's limit

// The checksum's two texts in the metadata. There are two so that no single damage makes a file look like one without a
// checksum.
constexpr const char* digits_key = "sha256";
constexpr const char* rule_key = "sha256_of";
constexpr const char* rule = "this file with these 64 digits as zeros";
constexpr std::size_t digits_size = 64;

struct Entry {
  std::string name;
  at::ScalarType type;
  std::vector<std::int64_t> shape;
  std::uint64_t begin, end;  // behind the header
};

/// An open file behind its checked header.
struct Reader {
  explicit Reader(const std::filesystem::path& path) : file(path) {
    std::error_code code;
    const auto kind = std::filesystem::status(path, code);
    if (std::filesystem::is_directory(kind))
      throw Error(fmt::format("{}: expected a file, found a folder", path.string()));
    // Opening a pipe would wait for its writer.
    if (std::filesystem::is_other(kind))
      throw Error(fmt::format("{}: expected a file, found a device or a pipe", path.string()));
    in.open(path, std::ios::binary);
    const auto size = std::filesystem::file_size(path, code);
    if (!in || code) throw Error(fmt::format("{}: cannot be read", path.string()));
    std::uint64_t header_size = 0;
    if (size < 8 || !in.read(reinterpret_cast<char*>(&header_size), 8))
      broken("it is shorter than the 8 bytes of the header's length");
    if (header_size > longest_header) broken("its first 8 bytes are not the length of a header");
    if (header_size > size - 8)
      broken(fmt::format("the header should have {} bytes and the file ends before", header_size));
    std::string header(header_size, '\0');
    if (!in.read(header.data(), static_cast<std::streamsize>(header_size))) broken("its header cannot be read");
    data_start = 8 + header_size;
    parse(header);
    const std::uint64_t expected = data_start + (entries.empty() ? 0 : entries.back().end);
    if (size != expected) broken(fmt::format("it should have {} bytes and has {}", expected, size));
    check_sum(std::move(header));
  }

  /// Compares the checksum with all bytes of the file, and takes it out of the metadata.
  void check_sum(std::string header) {
    if (metadata.count(digits_key) + metadata.count(rule_key) == 0) return;
    const std::string digits = metadata[digits_key];
    const std::size_t place = header.find(digits);
    if (metadata[rule_key] != rule || digits.size() != digits_size || place == std::string::npos) damaged();
    header.replace(place, digits_size, digits_size, '0');
    const std::uint64_t header_size = header.size();
    Sha256 hash;
    hash.update({reinterpret_cast<const char*>(&header_size), 8});
    hash.update(header);
    std::vector<char> buffer(1 << 20);
    while (in) {
      in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
      hash.update({buffer.data(), static_cast<std::size_t>(in.gcount())});
    }
    if (hash.hex() != digits) damaged();
    in.clear();
    in.seekg(static_cast<std::streamoff>(data_start));
    metadata.erase(digits_key);
    metadata.erase(rule_key);
    checked = true;
  }

  [[noreturn]] void damaged() const {
    throw Error(
        fmt::format("{}: damaged: its bytes do not give the checksum that was written with them", file.string()),
        "put back a copy from before; without one, delete the file and train again");
  }

  [[noreturn]] void broken(const std::string& why) const {
    throw Error(fmt::format("{}: not a sound safetensors file: {}", file.string(), why),
                "it may have been cut off while it was copied");
  }

  void parse(const std::string& header) {
    Json json;
    try {
      json = parse_json(header, file.string());
    } catch (const Error&) {
      broken("its header is not JSON");
    }
    if (!json.is_object()) broken("its header is not a JSON object");
    for (const auto& [key, value] : json.items()) {
      if (key == "__metadata__") {
        if (!value.is_object()) broken("__metadata__ is not an object");
        for (const auto& [name, text] : value.items()) {
          if (!text.is_string()) broken("__metadata__ holds something that is not a text");
          metadata[name] = text.get<std::string>();
        }
      } else {
        entries.push_back(parse_entry(key, value));
      }
    }
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    std::uint64_t place = 0;
    for (const auto& entry : entries) {
      if (entry.begin != place)
        broken(fmt::format("the tensor '{}' does not begin where the one before it ends", printable(entry.name)));
      place = entry.end;
    }
  }

  Entry parse_entry(const std::string& name, const Json& value) const {
    const auto fail = [&](const char* why) { broken(fmt::format("the tensor '{}' {}", printable(name), why)); };
    const auto natural = [](const Json& number) {
      return number.is_number_unsigned() && number.get<std::uint64_t>() <= INT64_MAX;
    };
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets")) {
      fail("lacks dtype, shape or data_offsets");
    }
    const Json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
    const auto known =
        std::find_if(dtypes.begin(), dtypes.end(), [&](const DType& type) { return dtype == type.name; });
    if (known == dtypes.end()) fail("has a type other than F64, I64, F32, BF16, U8, BOOL");
    if (!shape.is_array() || !std::all_of(shape.begin(), shape.end(), natural))
      fail("has a shape that is not a list of sizes");
    if (shape.size() > most_dimensions) fail("has more than 64 dimensions");
    if (!offsets.is_array() || offsets.size() != 2 || !natural(offsets[0]) || !natural(offsets[1]))
      fail("has data_offsets that are not two places");
    Entry entry{name, known->type, shape.get<std::vector<std::int64_t>>(), offsets[0].get<std::uint64_t>(),
                offsets[1].get<std::uint64_t>()};
    // LibTorch's strides of an empty tensor are products of the sizes that are not zero: they must fit too.
    auto bytes = static_cast<std::int64_t>(c10::elementSize(entry.type));
    bool fits = true;
    for (const auto size : entry.shape)
      fits = fits && !__builtin_mul_overflow(bytes, std::max<std::int64_t>(size, 1), &bytes);
    if (std::count(entry.shape.begin(), entry.shape.end(), 0) > 0) bytes = 0;
    if (!fits || entry.end < entry.begin || entry.end - entry.begin != static_cast<std::uint64_t>(bytes)) {
      fail("has data_offsets that do not agree with its shape");
    }
    return entry;
  }

  std::filesystem::path file;
  std::ifstream in;
  std::uint64_t data_start = 0;
  std::vector<Entry> entries;  // by place
  std::map<std::string, std::string> metadata;
  bool checked = false;
};

}  // namespace

const at::Tensor& SafeTensors::at(const std::string& name, const at::Tensor& expected,
                                  const std::filesystem::path& file) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw Error(fmt::format("{}: lacks the tensor '{}' of this model", file.string(), name));
  const auto& tensor = found->second;
  if (tensor.sizes() != expected.sizes() || tensor.scalar_type() != expected.scalar_type()) {
    throw Error(fmt::format("{}: the tensor '{}' is {} [{}], this model's is {} [{}]", file.string(), name,
                            c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "),
                            c10::toString(expected.scalar_type()), fmt::join(expected.sizes(), ", ")));
  }
  return tensor;
}

void write_safetensors(const std::filesystem::path& file, const SafeTensors& content) {
  // Wide types first, as the reference implementation does: so every tensor is aligned.
  std::vector<std::pair<std::string, at::Tensor>> sorted;
  for (const auto& [name, tensor] : content.tensors)
    sorted.emplace_back(name, tensor.detach().to(at::kCPU).contiguous());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second.element_size() > b.second.element_size(); });
  auto metadata = content.metadata;
  const std::string zeros(digits_size, '0');
  metadata[digits_key] = zeros;
  metadata[rule_key] = rule;
  Json header = {{"__metadata__", metadata}};
  std::size_t place = 0;
  for (const auto& [name, tensor] : sorted) {
    const auto type = std::find_if(dtypes.begin(), dtypes.end(),
                                   [&](const DType& known) { return known.type == tensor.scalar_type(); });
    if (type == dtypes.end())
      throw Error(fmt::format("{}: the tensor '{}' has a type that cannot be written", file.string(), name));
    header[name] = {
        {"dtype", type->name}, {"shape", tensor.sizes().vec()}, {"data_offsets", {place, place + tensor.nbytes()}}};
    place += tensor.nbytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  bytes.reserve(8 + text.size() + place);
  bytes += text;
  for (const auto& [name, tensor] : sorted) {
    if (tensor.nbytes() > 0) bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  }
  const std::string field = fmt::format(R"("{}":")", digits_key);
  bytes.replace(bytes.find(field + zeros) + field.size(), digits_size, sha256(bytes));
  write_file_atomically(file, bytes);
}

SafeTensors read_safetensors(const std::filesystem::path& file, const std::function<void(const SafeTensors&)>& check) {
  Reader reader(file);
  SafeTensors content;
  content.metadata = std::move(reader.metadata);
  content.checked = reader.checked;
  if (check) {
    SafeTensors header = content;
    for (const auto& entry : reader.entries) {
      header.tensors.emplace(entry.name, at::empty(entry.shape, at::TensorOptions(entry.type).device(at::kMeta)));
    }
    check(header);
  }
  for (const auto& entry : reader.entries) {
    at::Tensor tensor = at::empty(entry.shape, entry.type);
    const auto bytes = static_cast<std::streamsize>(entry.end - entry.begin);
    if (bytes > 0 && !reader.in.read(static_cast<char*>(tensor.mutable_data_ptr()), bytes))
      reader.broken("its values cannot be read");
    content.tensors.emplace(entry.name, std::move(tensor));
  }
  return content;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& file) {
  return Reader(file).metadata;
}

}  // namespace lra
