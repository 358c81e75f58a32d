#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace lra {

/// Keeps the order of keys, so that what a person wrote or reads comes out in the order it was meant.
using Json = nlohmann::ordered_json;

/// Reads a JSON file. Throws Error naming the file, and the line and column of a syntax error, or a key given twice, or that it is nested more
/// than 100 deep.
Json read_json(const std::filesystem::path& file);

/// Parses JSON text; `origin` names it in errors (a file, or "the command line").
Json parse_json(std::string_view text, const std::string& origin);

/// The same value in one form: keys in alphabetical order, numbers that are whole as integers (0.0 becomes 0), also inside lists and objects. Two values that
/// mean the same have equal canonical forms, whoever wrote their text.
Json canonical(const Json& json);

/// Writes `text` to a temporary name beside `file`, syncs it and renames it over `file`. Makes the folder. Throws Error.
void write_file_atomically(const std::filesystem::path& file, std::string_view text);

/// The same for JSON, indented by two spaces, with a final newline.
void write_json(const std::filesystem::path& file, const Json& json);

/// The whole file. Throws Error.
std::string read_file(const std::filesystem::path& file);

}  // namespace lra
