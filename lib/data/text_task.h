#pragma once

#include <memory>

#include "data/task.h"

namespace lra {

/// `text`: IMDB reviews (Maas et al. 2011), byte by byte, from aclImdb. Its valid split is the test split, as in LRA's
/// code, or a tenth of train.
struct TextOptions {
  std::string valid = "test";  ///< test | train: a tenth of train, held out

  void describe(FieldVisitor& fields);
};
std::unique_ptr<Task> make_text_task();

/// `text_standin`: generated documents (documents.h) in the layout of aclImdb, with a valid split of their own.
std::unique_ptr<Task> make_text_standin_task();

}  // namespace lra
