#pragma once

#include <filesystem>

#include "data/source.h"

/// Pairs of papers of the ACL Anthology Network (Radev et al. 2013) in the form of the Long Range Arena: does one cite
/// the other?
namespace lra {

/// The folder with new_aan_pairs.train.tsv, new_aan_pairs.eval.tsv and new_aan_pairs.test.tsv, as find_folder() finds
/// it: the release's tsv_data, S4's aan.
std::filesystem::path find_aan(const std::filesystem::path& from);

/// Reads lines of five tab-separated columns: label, two ids, two texts; no header, and a double quote is a character
/// as any other; LF or CRLF. The label is a number equal to 0 or 1 (1, 1.0, 1.00). Gives the first 10,000 bytes of each
/// text, which may be empty. Throws Error "FILE:LINE: ...".
void read_aan(const std::filesystem::path& file, const ExampleSink& sink);

}  // namespace lra
