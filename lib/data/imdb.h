#pragma once

#include <filesystem>

#include "data/source.h"

/// The Large Movie Review Dataset (Maas et al. 2011), aclImdb_v1.tar.gz: one review a file in train/neg, train/pos, test/neg, test/pos.
namespace lra {

/// `from` or from/aclImdb, whichever has the four folders. Throws Error that names what is missing.
std::filesystem::path find_imdb(const std::filesystem::path& from);

/// Reads the reviews of one split (the folder `train` or `test`): label 0 for those in neg, then 1 for those in pos, each in byte order of
/// their file names (*.txt), whole and unchanged. Throws Error for an empty or unreadable review and for a folder without reviews.
void read_imdb(const std::filesystem::path& folder_of_split, const ExampleSink& sink);

}  // namespace lra
