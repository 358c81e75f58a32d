#pragma once

#include <filesystem>
#include <vector>

#include "data/source.h"

/// The Large Movie Review Dataset (Maas et al. 2011), aclImdb_v1.tar.gz: one review a file in train/neg, train/pos,
/// test/neg, test/pos.
namespace lra {

/// The folder with the four folders, as find_folder() finds it.
std::filesystem::path find_imdb(const std::filesystem::path& from);

/// The files that read_imdb() reads, in its order. Throws Error as it does.
std::vector<std::filesystem::path> list_imdb(const std::filesystem::path& folder_of_split);

/// Reads the reviews of one split (the folder `train` or `test`): label 0 for those in neg, then 1 for those in pos,
/// each in byte order of their file names (*.txt), whole and unchanged. Throws Error for an empty or unreadable review
/// and for a folder without reviews.
void read_imdb(const std::filesystem::path& folder_of_split, const ExampleSink& sink);

}  // namespace lra
