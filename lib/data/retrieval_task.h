#pragma once

#include <memory>

#include "data/task.h"

namespace lra {

/// `retrieval`: does one paper of the ACL Anthology Network (Radev et al. 2013) cite the other? Two documents, byte by
/// byte, from new_aan_pairs.*.tsv.
std::unique_ptr<Task> make_retrieval_task();

/// `retrieval_standin`: pairs of generated documents (documents.h) in the layout of those files.
std::unique_ptr<Task> make_retrieval_standin_task();

}  // namespace lra
