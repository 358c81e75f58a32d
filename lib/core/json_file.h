#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace lra {

/// Keeps the order of keys, so that what a person wrote or reads comes out in the order it was meant.
using Json = nlohmann::ordered_json;

/// Reads a JSON file. Throws Error naming the file, and the line and column of a syntax error, or a key given twice, or
/// that it is nested more than 100 deep.
Json read_json(const std::filesystem::path& file);

/// Parses JSON text; `origin` names it in errors (a file, or "the command line").
Json parse_json(std::string_view text, const std::string& origin);

/// The same value in one form: keys in alphabetical order, numbers that are whole as integers (0.0 becomes 0), also
/// inside lists and objects. Two values that mean the same have equal canonical forms, whoever wrote their text.
Json canonical(const Json& json);

/// `json` as text on one line, or with `indent` spaces for each level. Bytes that are not UTF-8 become U+FFFD.
std::string json_text(const Json& json, int indent = -1);

/// Writes `text` to a temporary name beside `file`, syncs it, renames it over `file` and syncs the folder. Makes the
/// folder. Follows links: what they lead to is replaced. An existing file keeps its mode. What is no regular file (a
/// device, a pipe, /dev/stdout) is written through. Throws Error.
void write_file_atomically(const std::filesystem::path& file, std::string_view text);

/// Throws Error if write_file_atomically could not write `file`, as far as that can be known before. Makes the folder,
/// writes nothing into `file`.
void check_writable(const std::filesystem::path& file);

/// After a rename: what the folder lists is on the disk.
void sync_folder(const std::filesystem::path& folder);

/// The same for JSON, indented by two spaces, with a final newline.
void write_json(const std::filesystem::path& file, const Json& json);

/// The whole file. Throws Error.
std::string read_file(const std::filesystem::path& file);

}  // namespace lra
